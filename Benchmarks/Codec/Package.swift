// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

let package = Package(
  name: "codec",
  dependencies: [
    .package(name: "swift-message-sockets", path: "../.."),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
  ],
  targets: [
    .target(name: "CCodec", cSettings: [.unsafeFlags(["-O2"])]),
    .executableTarget(
      name: "codec-bench",
      dependencies: [
        "CCodec",
        .product(name: "Ancillary", package: "swift-message-sockets"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: [.enableExperimentalFeature("Lifetimes"), .strictMemorySafety()]
    ),
  ],
  swiftLanguageModes: [.v6]
)
