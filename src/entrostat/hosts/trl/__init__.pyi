from .alerts import Alerts as Alerts
from .trainer import controlled as controlled
