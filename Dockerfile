# SPDX-License-Identifier: GPL-2.0-only
# bisector with all it needs to build and boot kernels. Debian 12 is the oldest system it supports.
#
#   docker build -t bisector .
#   docker run --rm --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt apparmor=unconfined \
#     -v linux:/linux:ro -v bisector:/root bisector run virtio-dio-lvm-raid1 --repo /linux
#
# Add --device /dev/kvm where the host has it; without it kernels run in software emulation, and bisector says so.
# No --privileged: storage is built inside the VM only. What is built and tried is confined by bubblewrap, which must be
# allowed to make namespaces, in one of two ways:
#   --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt apparmor=unconfined      bwrap takes both away from what it runs
#   bisector run ... --no-sandbox      the container alone confines: builds and VMs see /linux and /root, and the network
FROM debian:12-slim AS base

# The list of packages stands once, in the script that "make test" runs too. The archive's lists stay: bisector takes
# kernel sources and packages through this apt, and learns its mirror from them.
COPY .ci/setup-host /tmp/setup-host
RUN /tmp/setup-host && apt-get clean && rm /tmp/setup-host

# A virtual environment, because Debian's own Python refuses packages from elsewhere (PEP 668).
FROM base AS build
RUN python3 -m venv /opt/bisector
COPY pyproject.toml README.md LICENSE /src/
COPY bisector /src/bisector
COPY recipes /src/recipes
COPY kconfigs /src/kconfigs
RUN /opt/bisector/bin/pip install --no-cache-dir --disable-pip-version-check /src

FROM base
COPY --from=build /opt/bisector /opt/bisector
ENV PATH=/opt/bisector/bin:$PATH
# Campaigns and images live under /root (XDG folders): mount a volume there, or they end with the container.
VOLUME /root
# A repository that is mounted belongs to another user; git would refuse to read it.
RUN git config --system --add safe.directory '*'
ENTRYPOINT ["bisector"]
CMD ["--help"]
