// SPDX-License-Identifier: Apache-2.0
import MessageSockets

print("kind: \(try IOLoop().driver.kind)")
