import Ancillary
