"""`from entrostat.trl import controlled`, and `es.trl.controlled`: TRL under the name by which it is used."""

from entrostat.hosts.trl import Alerts as Alerts
from entrostat.hosts.trl import controlled as controlled
