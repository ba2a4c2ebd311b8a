// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

let package = Package(
  name: "varlink-benchmark",
  dependencies: [
    .package(name: "swift-message-sockets", path: "../.."),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
  ],
  targets: [
    .executableTarget(
      name: "varlink-bench",
      dependencies: [
        .product(name: "MessageFraming", package: "swift-message-sockets"),
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "Varlink", package: "swift-message-sockets"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
        .enableExperimentalFeature("Lifetimes"),
      ])
  ],
  swiftLanguageModes: [.v6]
)
