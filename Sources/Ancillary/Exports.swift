// SPDX-License-Identifier: Apache-2.0
// What a program needs of swift-system to use this module: descriptors, errors, paths and their
// permissions.
@_exported public import struct SystemPackage.Errno
@_exported public import struct SystemPackage.FileDescriptor
@_exported public import struct SystemPackage.FilePath
@_exported public import struct SystemPackage.FilePermissions
