"""verl's training under entropy control: `python -m entrostat.hosts.verl`, with all of verl's overrides.

    python -m entrostat.hosts.verl +entrostat.method.name=hold +entrostat.method.target=0.3 <as for verl>

The same as `python -m verl.trainer.main_ppo` with `trainer.v1.trainer_mode=entrostat_...`, but it does not depend on the
plugin having been found: a failure to load it is an error, in every process, on every node. What is wrong with the
settings is said before anything is started.
"""

from __future__ import annotations

import os
from typing import Any

from entrostat.errors import HostError, NotInstalled
from entrostat.hosts.verl import fields
from entrostat.hosts.verl.settings import check_host, read_settings

PLUGIN = "entrostat.hosts.verl.plugin"
MODULES = "VERL_USE_EXTERNAL_MODULES"  # verl imports these, and lets their errors through
# Before verl is imported, and for the processes that Ray starts here.
os.environ[MODULES] = ",".join(dict.fromkeys([*filter(None, os.environ.get(MODULES, "").split(",")), PLUGIN]))

try:
    import hydra
    from omegaconf import OmegaConf, open_dict
    from verl.trainer.main_ppo import TaskRunnerV1, run_ppo
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY
    from verl.utils.config import validate_config
    from verl.utils.device import auto_set_device
except ImportError as error:
    raise NotInstalled(f"verl is not complete here ({error}): pip install 'verl>=0.9.1' 'entrostat[verl]'") from error


def prepare(config: Any) -> None:
    """Check the configuration as the driver will, and complete it.

    Raises:
        ConfigError, HostError: before anything is started.
    """
    settings = read_settings(OmegaConf.to_container(config.get("entrostat") or OmegaConf.create(), resolve=True))
    mode = fields.PREFIX + config.trainer.v1.trainer_mode.removeprefix(fields.PREFIX)
    if mode not in TRAINER_REGISTRY:
        ours = sorted(name for name in TRAINER_REGISTRY if name.startswith(fields.PREFIX))
        raise HostError(f"trainer.v1.trainer_mode={config.trainer.v1.trainer_mode!r}: entropy control has {ours}")
    with open_dict(config):
        config.trainer.v1.trainer_mode = mode
        # Nodes of a cluster that runs already do not have this process's environment.
        OmegaConf.update(
            config, f"ray_kwargs.ray_init.runtime_env.env_vars.{MODULES}", os.environ[MODULES], force_add=True
        )
    check_host(config, settings.method)
    auto_set_device(config)
    validate_config(config=config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config))


@hydra.main(config_path="pkg://verl.trainer.config", config_name="ppo_trainer", version_base=None)
def main(config: Any) -> None:
    prepare(config)
    run_ppo(config, task_runner_class=TaskRunnerV1)


if __name__ == "__main__":
    main()
