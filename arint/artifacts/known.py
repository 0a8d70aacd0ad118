"""Names of packages that integrations often use: only to guess at what was meant where a name is not known."""

KNOWN = (
    "aiohttp", "anthropic", "arrow", "attrs", "azure-storage-blob", "babel", "beautifulsoup4", "boto3", "botocore",
    "cachetools", "cattrs", "chardet", "charset-normalizer", "cryptography", "cx-oracle", "defusedxml", "dnspython",
    "docutils", "email-validator", "fastavro", "geopy", "google-cloud-storage", "holidays", "html5lib", "httpx",
    "humanize", "hvac", "icalendar", "iso8601", "jinja2", "jsonpath-ng", "jsonschema", "ldap3", "lxml", "markdown",
    "minio", "msgpack", "mysqlclient", "numpy", "oauthlib", "openai", "openpyxl", "oracledb", "orjson", "pandas",
    "paramiko", "pendulum", "phonenumbers", "pillow", "polars", "protobuf", "psycopg", "psycopg2-binary", "pyarrow",
    "pycountry", "pycryptodome", "pydantic", "pyjwt", "pymongo", "pymssql", "pymysql", "pyodbc", "pypdf", "pysftp",
    "python-dateutil", "python-slugify", "pytz", "pyyaml", "qrcode", "rapidfuzz", "redis", "regex", "reportlab",
    "requests", "requests-oauthlib", "scikit-learn", "scipy", "setuptools", "simplejson", "slack-sdk", "sqlalchemy",
    "stripe", "tabulate", "tenacity", "text-unidecode", "toml", "tzdata", "ujson", "unidecode", "urllib3", "weasyprint",
    "xlrd", "xlsxwriter", "xmlschema", "xmltodict", "zeep",
)
