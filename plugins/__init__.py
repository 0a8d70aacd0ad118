"""Built-in plugins, one per transport or format, registered exactly as a third party's would be."""
