// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

let package = Package(
  name: "comparison",
  dependencies: [.package(name: "swift-message-sockets", path: "../../..")],
  targets: [
    .executableTarget(
      name: "worker",
      dependencies: [.product(name: "MessageSockets", package: "swift-message-sockets")],
      swiftSettings: [.enableUpcomingFeature("NonisolatedNonsendingByDefault")]
    )
  ],
  swiftLanguageModes: [.v6]
)
