"""Any host's log as columns. Imports neither torch nor any host."""
