// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

// Built by `Fuzz/run`, which adds the sanitizer's flags for this package and the package under
// test.
let package = Package(
  name: "fuzz",
  dependencies: [
    .package(name: "swift-message-sockets", path: ".."),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
  ],
  targets: [
    .target(name: "CFuzzDriver"),
    .executableTarget(
      name: "ancillary-fuzz",
      dependencies: [
        "CFuzzDriver",
        .product(name: "Ancillary", package: "swift-message-sockets"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: [.enableExperimentalFeature("Lifetimes"), .strictMemorySafety()]
    ),
    .executableTarget(
      name: "receive-fuzz",
      dependencies: [
        "CFuzzDriver",
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "MessageFraming", package: "swift-message-sockets"),
        .product(name: "Varlink", package: "swift-message-sockets"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: [
        .enableExperimentalFeature("Lifetimes"),
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
      ]
    ),
  ],
  swiftLanguageModes: [.v6]
)
