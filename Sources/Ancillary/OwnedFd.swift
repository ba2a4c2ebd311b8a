public import SystemPackage
