// SPDX-License-Identifier: Apache-2.0
// The parts of swift-system that a program needs to use this module: descriptors, errors, paths and
// their permissions.
@_exported public import struct SystemPackage.Errno
@_exported public import struct SystemPackage.FileDescriptor
@_exported public import struct SystemPackage.FilePath
@_exported public import struct SystemPackage.FilePermissions
