from softgrad import boosting as boosting
from softgrad import calibration as calibration
from softgrad import compat as compat
from softgrad import files as files
from softgrad import regression as regression
from softgrad import testing as testing
from softgrad._api.decoding import *
from softgrad._api.derivatives import *
from softgrad._api.focal import *
from softgrad._api.hessians import *
from softgrad._api.information import *
from softgrad._api.layers import *
from softgrad._api.linear_losses import *
from softgrad._api.losses import *
from softgrad._api.operators import *
from softgrad._api.results import *
from softgrad._api.sampling import *
from softgrad._api.softmax import *
from softgrad._api.sparse import *
from softgrad._api.sparse_derivatives import *
from softgrad._api.sparse_losses import *
from softgrad._api.states import *
from softgrad._numpy.kernels import *
from softgrad._numpy.threads import *
from softgrad.calibration.evaluation import *
from softgrad.calibration.temperature import *
from softgrad.files.apply import *
from softgrad.files.read import *

__version__: str
