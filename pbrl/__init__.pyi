"""What `pbrl` offers to type checkers and editors; at run time `__init__.py` imports each name when it is used."""

from pbrl.api import Labels as Labels
from pbrl.api import load_dataset as load_dataset
from pbrl.api import load_labels as load_labels
from pbrl.api import load_policy as load_policy
from pbrl.api import load_reward as load_reward
from pbrl.api import load_run as load_run
from pbrl.api import resume as resume
from pbrl.api import train as train
from pbrl.data.datasets import Dataset as Dataset
from pbrl.errors import UserError as UserError
from pbrl.training.callbacks import Callback as Callback
from pbrl.use.compare import Runs as Runs
from pbrl.use.compare import compare as compare
from pbrl.use.policy import Policy as Policy
from pbrl.use.reward import Reward as Reward
from pbrl.use.rsl_rl import RslRlRewardWrapper as RslRlRewardWrapper
from pbrl.use.run import Run as Run
from pbrl.use.sb3_wrapper import RewardVecEnvWrapper as RewardVecEnvWrapper
from pbrl.use.wrapper import RewardWrapper as RewardWrapper

__version__: str
