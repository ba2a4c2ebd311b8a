// One import for users: descriptors and control messages, the loop, the sockets.
@_exported public import Ancillary
@_exported public import SocketEngine
