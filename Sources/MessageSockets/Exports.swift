public import Ancillary
