# Two commands do all set-up on a fresh Debian-like machine:
#   make demo   the main job: build an application, push it, pull it back, run it
#   make test   everything that CI runs
# Both install Debian packages when they are missing (as root or with sudo) and use .venv.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
APT_RUN = python3-venv busybox-static mmdebstrap uidmap
APT_TEST = $(APT_RUN) buildah podman skopeo umoci docker.io docker-registry runc crun iptables nftables \
	iproute2 netavark containernetworking-plugins fuse-overlayfs attr libcap2-bin git slirp4netns chromium \
	openssh-client openssl passwd pigz qemu-user-static zstd xz-utils bzip2 curl gcc libc6-dev

.PHONY: demo test clean packages-run packages-test

demo: packages-run $(VENV)/installed
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python examples/demo.py

test: packages-test $(VENV)/installed-dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(PYTEST)

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet "pip>=25.1"
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

packages-run:
	@./.ci/packages $(APT_RUN)

packages-test:
	@./.ci/packages $(APT_TEST)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist
