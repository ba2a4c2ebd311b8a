// SPDX-License-Identifier: Apache-2.0
import Testing

/// Suites whose tests open descriptors run one after the other, because together they could exceed
/// the process's limit of open files.
@Suite(.serialized) enum OpeningDescriptors {}
