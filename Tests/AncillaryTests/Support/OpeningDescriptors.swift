// SPDX-License-Identifier: Apache-2.0
import Testing

/// The suites whose tests open descriptors run one after the other: together they could exceed the
/// process's limit of open files.
@Suite(.serialized) enum OpeningDescriptors {}
