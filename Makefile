# subhost: build, check, demo, bench, install. Everything else is cargo.
.POSIX:
.SUFFIXES:

PREFIX = /usr/local
DESTDIR =
CARGO = cargo
SBIN = $(DESTDIR)$(PREFIX)/sbin
SHARE = $(DESTDIR)$(PREFIX)/share

TOOLS = subhost-mount subhost-net subhost-enter subhost-start subhost-stop \
	subhost-list subhost-info subhost-limit subhost-config subhost-check
# A link to the directory with the built tools, so that `install` needs no cargo.
BUILT = target/built
# sudo's PATH and HOME do not lead to the cargo of the user who calls it.
ENV = eval "$$(sh contrib/setup.sh env)" &&

.PHONY: all build setup setup-check check soak check-before check-vm attacks services demo bench doc pages install uninstall clean

all: build

# Static tools start in half the time, and PID 1 needs no loader. The tools are links to one program, which looks at
# its name. PID 1 is a small program of its own.
# crt-static needs an explicit target, or proc-macros would not build.
build:
	$(ENV) host=$$($(CARGO) -vV | sed -n 's/^host: //p') && \
	RUSTFLAGS="$${RUSTFLAGS-} -C target-feature=+crt-static" $(CARGO) build --release --locked --target "$$host" \
		--bin subhost --bin subhost-init && \
	rm -f $(BUILT) && ln -s "$$host/release" $(BUILT)
	for tool in $(TOOLS); do ln -f $(BUILT)/subhost $(BUILT)/$$tool || exit 1; done

# libclang: loopdev-3 makes its bindings to <linux/loop.h> with bindgen, which loads it.
setup:
	sh contrib/setup.sh build

setup-check:
	sh contrib/setup.sh check

# All tests, as root: they work in namespaces of their own. No skip counts as a success. In the end the ten slowest.
check: setup-check
	mkdir -p target
	rm -f target/times
	status=0; \
	$(ENV) SUBHOST_TIMES=$$PWD/target/times SUBHOST_MUST_RUN=1 RUST_BACKTRACE=0 \
		$(CARGO) test --locked --no-fail-fast || status=$$?; \
	sh contrib/slowest.sh target/times; exit $$status

# The same in full: every fault and crash that check samples, races and random kills for minutes.
soak: setup-check check-before
	$(ENV) SUBHOST_SOAK=1 SUBHOST_MUST_RUN=1 RUST_BACKTRACE=0 $(CARGO) test --locked

# What the tools of the version before left is taken over: with these tools themselves, built from the history.
check-before: setup-check
	$(ENV) before=$$(sh contrib/before.sh target/before) && SUBHOST_BEFORE=$$before SUBHOST_MUST_RUN=1 \
		$(CARGO) test --locked --features before --test versions

# The tests on Debian 12's kernel, in a virtual machine.
check-vm: setup-check
	$(ENV) sh contrib/check-vm.sh

# The tests' attacks here and in what else makes containers, side by side: docs/attacks.md.
attacks: setup
	sh contrib/setup.sh attacks
	$(MAKE) build
	$(ENV) sh contrib/attacks.sh "$$PWD/$(BUILT)" >target/attacks.md
	mkdir -p docs
	mv target/attacks.md docs/attacks.md

# Debian's services, unchanged, in subhosts; needs a mirror.
services: setup
	sh contrib/setup.sh services
	$(MAKE) build
	$(ENV) sh contrib/services.sh "$$PWD/$(BUILT)"

demo: setup
	$(MAKE) build
	$(ENV) sh contrib/demo.sh "$$PWD/$(BUILT)"

# Side by side with what else makes containers, and with bare system calls: docs/bench.md.
bench: setup-check
	sh contrib/setup.sh bench
	$(MAKE) build
	mkdir -p target/bench
	$(MAKE) install DESTDIR=$$PWD/target/bench/installed PREFIX=
	$(ENV) $(CARGO) run --quiet --locked --example defaults >target/bench/defaults.h
	cc -O2 -static -Itarget/bench -o target/bench/raw-cycle.linked benches/raw-cycle.c
	install -m 755 target/bench/raw-cycle.linked target/bench/raw-cycle
	[ -e target/bench/minbase/bin/true ] || debootstrap --variant=minbase stable target/bench/minbase || rm -rf target/bench/minbase
	tree=$$PWD/target/bench/minbase; [ -e "$$tree/bin/true" ] || tree=; \
		$(ENV) BENCH_TREE=$$tree python3 benches/bench.py --out docs "$$PWD/target/bench/installed/sbin" target/bench/raw-cycle

doc:
	$(ENV) RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

# Manual pages and completions, anew from the command lines' definitions.
pages:
	$(ENV) BLESS=1 $(CARGO) test --locked --test pages

install:
	@[ -e $(BUILT)/subhost ] || { echo "the tools are not built: run make first" >&2; exit 1; }
	install -d $(SBIN) $(SHARE)/man/man5 $(SHARE)/man/man7 $(SHARE)/man/man8
	install -m 755 $(BUILT)/subhost $(BUILT)/subhost-init $(SBIN)/
	for tool in $(TOOLS); do ln -f $(SBIN)/subhost $(SBIN)/$$tool || exit 1; done
	install -m 644 man/*.5 $(SHARE)/man/man5/
	install -m 644 man/*.7 $(SHARE)/man/man7/
	install -m 644 man/*.8 $(SHARE)/man/man8/
	install -d $(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	install -m 644 contrib/completions/bash/* $(SHARE)/bash-completion/completions/
	install -m 644 contrib/completions/zsh/* $(SHARE)/zsh/site-functions/
	install -m 644 contrib/completions/fish/* $(SHARE)/fish/vendor_completions.d/
	install -d $(SHARE)/doc/subhost
	cp -R README.md SECURITY.md CHANGELOG.md docs subhosts.example contrib $(SHARE)/doc/subhost/

uninstall:
	for tool in subhost subhost-init $(TOOLS); do rm -f $(SBIN)/$$tool; done
	rm -f $(SHARE)/man/man5/subhost.config.5 $(SHARE)/man/man7/subhost.7 $(SHARE)/man/man7/subhost-*.7 $(SHARE)/man/man8/subhost-*.8
	rm -f $(SHARE)/bash-completion/completions/subhost-* $(SHARE)/zsh/site-functions/_subhost-* $(SHARE)/fish/vendor_completions.d/subhost-*.fish
	rm -rf $(SHARE)/doc/subhost

clean:
	$(ENV) $(CARGO) clean
