# Included by the root Makefile: `make fuzz DURATION=60`.
.PHONY: fuzz
fuzz:
	Fuzz/run $(or $(DURATION),20)
