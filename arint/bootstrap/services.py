"""What keeps the agent running: a unit of systemd, or where there is none a configuration of supervisor. Pure."""

from __future__ import annotations

from arint.bootstrap.facts import SYSTEM_USER

STOPPING = 90
"""Seconds that the agent may take to drain its workers and stop the engines."""

_UNIT = """\
# Written by arintctl cluster add-node; what you change belongs into `systemctl edit arint`.
[Unit]
Description=ARINT node agent
Wants=network-online.target
After=network-online.target time-sync.target

[Service]
Type=exec
User={user}
Group={user}
Environment=HOME={home}
ExecStart={prefix}/current/bin/nodeagent --home {home}
Restart=always
RestartSec=1
# The agent stops its workers and engines itself; when it crashes they go on, and the next one takes them over.
KillMode=process
TimeoutStopSec={stopping}
UMask=0077
LimitNOFILE=65536
TasksMax=infinity
Delegate=yes
OOMPolicy=continue
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ReadWritePaths={home}
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
ProtectProc=invisible

[Install]
WantedBy=multi-user.target
"""

_SUPERVISOR = """\
; Written by arintctl cluster add-node.
[supervisord]
pidfile={home}/run/supervisord.pid
logfile={home}/log/supervisord.log
logfile_maxbytes=1MB
logfile_backups=1
childlogdir={home}/log
umask=077
minfds=4096

[program:arint]
command={prefix}/current/bin/nodeagent --home {home}
environment=HOME="{home}"
autostart=true
autorestart=true
startretries=1000000
startsecs=1
stopsignal=TERM
stopwaitsecs={stopping}
stopasgroup=false
killasgroup=false
redirect_stderr=true
stdout_logfile={home}/log/agent.log
; the agent keeps its logs small itself
stdout_logfile_maxbytes=0
"""


def unit(prefix: str, home: str) -> str:
    """The content of arint.service."""
    return _UNIT.format(user=SYSTEM_USER, prefix=prefix, home=home, stopping=STOPPING)


def supervisor(prefix: str, home: str) -> str:
    """The content of supervisor.conf."""
    return _SUPERVISOR.format(prefix=prefix, home=home, stopping=STOPPING)
