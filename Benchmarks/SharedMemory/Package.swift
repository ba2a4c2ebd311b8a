// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

let package = Package(
  name: "shared-memory-bench",
  dependencies: [
    .package(name: "swift-message-sockets", path: "../.."),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
  ],
  targets: [
    .executableTarget(
      name: "memory-bench",
      dependencies: [
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "SharedMemory", package: "swift-message-sockets"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: [.enableExperimentalFeature("Lifetimes")]
    )
  ],
  swiftLanguageModes: [.v6]
)
