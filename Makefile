# make run, make check, make test, make install; see README.md.

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=
PYTHON ?= /usr/bin/python3
# The interpreter that the launcher names: never that of a virtual environment, and no link to another.
INTERPRETER = $(or $(filter /usr/bin/%,$(PYTHON)),$(shell $(PYTHON) -c 'import os, sys; print(os.path.realpath(sys._base_executable))'))

BINDIR = $(PREFIX)/bin
LIBDIR = $(PREFIX)/lib/null521
UNITDIR = $(PREFIX)/lib/systemd/system
CATALOGDIR = $(PREFIX)/lib/systemd/catalog
TMPFILESDIR = $(PREFIX)/lib/tmpfiles.d
MANDIR = $(PREFIX)/share/man
DOCDIR = $(PREFIX)/share/doc/null521
TLSDIR = $(SYSCONFDIR)/null521
# The directory where this interpreter has, or would have, systemd-python.
SITEDIR = $(or $(shell $(PYTHON) -c 'import os, systemd; print(os.path.dirname(os.path.dirname(systemd.__file__)))' 2>/dev/null),/usr/lib/python3/dist-packages)

# The paths outside /usr that the unit's root directory must show.
OUTSIDE = $(filter-out /usr /usr/%,$(PREFIX) $(SITEDIR) $(shell $(PYTHON) -c 'import sys; print(sys.base_prefix)')) \
	$(if $(filter /usr/bin/%,$(INTERPRETER)),,-/etc/ld.so.cache)

# What can be executed there: the interpreter, its libraries, and the launcher.
EXECUTABLE = +$(INTERPRETER) +$(BINDIR)/null521 +/usr/lib $(if $(wildcard /usr/lib64/libc.so.*),+/usr/lib64) \
	$(if $(filter /usr/local/%,$(INTERPRETER) $(SITEDIR)),+/usr/local/lib)

# systemd's version, of the one that runs or of the one to build for. From 255 on, it can pace a socket.
SYSTEMD = $(or $(shell systemctl --version 2>/dev/null | sed 's/systemd \([0-9]*\).*/\1/; q'),$(shell pkg-config --modversion systemd 2>/dev/null))

# The files contain the paths of a default installation; replace them by the actual ones.
PLACES = umask 022 && sed -e '1s|^\#!/usr/bin/python3 |\#!$(INTERPRETER) |' -e 's|/usr/local/lib/null521|$(LIBDIR)|' \
	-e 's|/usr/local/bin/|$(BINDIR)/|' -e 's|/usr/lib/python3/dist-packages|$(SITEDIR)|' \
	-e 's|/etc/null521|$(TLSDIR)|g' -e 's|^ExecPaths=.*|ExecPaths=$(strip $(EXECUTABLE))|' \
	-e 's|^BindReadOnlyPaths=.*|&$(if $(strip $(OUTSIDE)), $(strip $(OUTSIDE)))|'

# The folders of null521/.
FOLDERS = $(patsubst null521/%/__init__.py,%,$(wildcard null521/*/__init__.py))

# Each page with its folder, as in man8/null521.8.
PAGES = $(foreach page,$(notdir $(wildcard docs/man/*)),man$(patsubst .%,%,$(suffix $(page)))/$(page))

.PHONY: run check mutants fuzz test senders retries cost report-cost hardening pace bench dist deb rpm install certificate uninstall clean

run:
	@scripts/prepare run
	@printf '%s\n' 'null521 answers on 127.0.0.1:2525. To see a 521, run this in another terminal:' '' \
		"    printf 'EHLO x\r\nMAIL FROM:<a@b.c>\r\nQUIT\r\n' | nc -N 127.0.0.1 2525" '' \
		'The record of each connection appears below. Press Control-C to stop.'
	@exec $(PYTHON) -m null521 serve --listen=127.0.0.1:2525 --log=stderr

# As any user, with each Python found: the checks that need no root, no service and no Debian.
check:
	@scripts/check

# Mutation testing: how many small changes of the program its unit tests notice. To test some modules only:
# make mutants MODULES='session report/tally'
mutants:
	@scripts/mutants $(MODULES)

# All tests, on Debian 12 or later, as root or with sudo; or those of what differs between releases, in a root
# of that release: make test RELEASE=trixie
RELEASE ?=
test:
ifeq (,$(RELEASE))
	scripts/prepare test
	scripts/test
else
	scripts/release $(RELEASE)
endif

# A hundred thousand mutated conversations under TLS for each driver: some twenty minutes.
fuzz:
	scripts/prepare test
	PYTHONPATH=$(CURDIR):$(CURDIR)/tests build/venv-distribution/bin/python tests/system/bench/fuzz_tls.py 100000

senders:
	scripts/prepare test
	PYTHONPATH=$(CURDIR):$(CURDIR)/tests:$(CURDIR)/tests/system/senders build/venv-distribution/bin/python tests/system/senders/matrix.py

# How senders retry: five hours by their clock, which runs 20 times as fast.
retries:
	scripts/prepare test
	PYTHONPATH=$(CURDIR):$(CURDIR)/tests:$(CURDIR)/tests/system/senders build/venv-distribution/bin/python tests/system/senders/retries.py

# What one connection costs as a process of its own, a start of the unit by group of settings, and a report on
# a million records; and what honest callers get beside a flood of 2,000. RELEASE= as for the tests.
cost hardening report-cost pace:
ifeq (,$(RELEASE))
	scripts/prepare system
	PYTHONPATH=$(CURDIR):$(CURDIR)/tests $(PYTHON) tests/system/bench/$(subst -,_,$@).py
else
	scripts/release $(RELEASE) $@
endif

bench:
	scripts/prepare test
	PYTHONPATH=$(CURDIR):$(CURDIR)/tests:$(CURDIR)/tests/system/senders build/venv-distribution/bin/python tests/system/bench/servers.py \
		--picture docs/servers.svg
	PYTHONPATH=$(CURDIR) build/venv-distribution/bin/python tests/system/bench/parts.py

# The C programs of the benchmark: the floor and its clients.
build/bench/%: tests/system/bench/%.c
	@mkdir -p build/bench
	$(CC) -O2 -std=gnu11 -Wall -Wextra -o $@ $<

# The wheel and the source archive, in build/dist.
DIST ?= build/dist
dist:
	scripts/prepare dist
	rm -f '$(DIST)'/null521-*
	build/dist-tools/bin/python -m build --no-isolation --outdir '$(DIST)'
	build/dist-tools/bin/python -m twine check --strict '$(DIST)'/null521-*

# A package for Debian, in build/deb.
DEB ?= build/deb
deb:
	scripts/prepare deb
	rm -rf '$(DEB)/null521' && mkdir -p '$(DEB)/null521'
	cp -r Makefile null521 units docs scripts inetd.conf.example README.md LICENSE CHANGELOG.md debian '$(DEB)/null521'
	cd '$(DEB)/null521' && dpkg-buildpackage -us -uc -b
	rm -rf '$(DEB)/null521'

# A package for Fedora and RHEL, in build/rpm. Elsewhere, rpmbuild lacks their macros and knows no packages.
RPM ?= build/rpm
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' null521/__init__.py)
# When rpmbuild turns to "noarch", it forgets the macros of one of the two: 4.20 of --load, 4.18 of --macros.
MACROS = --load=packaging/macros --macros="$$(rpm --showrc | sed -n 's/^Macro path: //p'):packaging/macros"
rpm:
	scripts/prepare rpm
	rm -rf '$(RPM)' && mkdir -p '$(RPM)'
	tar -czf '$(RPM)/null521-$(VERSION).tar.gz' --exclude=__pycache__ --transform='s|^|null521-$(VERSION)/|' \
		Makefile null521 units docs scripts packaging inetd.conf.example README.md LICENSE CHANGELOG.md
	rpmbuild -tb --define "_topdir $$(realpath '$(RPM)')" \
		$(if $(wildcard /usr/lib/rpm/macros.d/macros.systemd),,--nodeps $(MACROS)) \
		'$(RPM)/null521-$(VERSION).tar.gz'
	mv '$(RPM)'/RPMS/noarch/*.rpm '$(RPM)'
	cd '$(RPM)' && rm -rf BUILD BUILDROOT RPMS SOURCES SPECS SRPMS

# Unit files and sed take these names without quoting.
define checked
$(if $(or $(word 2,$($(1))),$(findstring &,$($(1))),$(findstring |,$($(1))),$(filter-out /%,$($(1)))),\
	$(error $(1) must begin with / and contain no blanks, & or |))
endef
$(foreach name,PREFIX SYSCONFDIR,$(call checked,$(name)))

# They print what they have done, instead of how.
.SILENT: needs install uninstall

# A prerequisite, because make asks the interpreter for paths before it runs a line of a recipe.
.PHONY: needs
needs:
	if [ -z '$(DESTDIR)' ]; then PYTHON='$(PYTHON)' scripts/prepare install; fi
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "null521 needs Python 3.11 or later")'

install: needs
	@if [ -z '$(DESTDIR)' ]; then $(MAKE) --no-print-directory certificate || \
		echo 'null521: no certificate was made, so STARTTLS will not be offered' >&2; fi
	install -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(LIBDIR)' '$(DESTDIR)$(UNITDIR)' \
		'$(DESTDIR)$(CATALOGDIR)' '$(DESTDIR)$(TMPFILESDIR)' '$(DESTDIR)$(DOCDIR)' \
		'$(DESTDIR)$(MANDIR)/man1' '$(DESTDIR)$(MANDIR)/man8'
	# A program may start at any moment and must not mix modules of two versions, so rename the new ones into place.
	cd '$(DESTDIR)$(LIBDIR)' && rm -rf new old && install -d new
	install -m 644 null521/*.py '$(DESTDIR)$(LIBDIR)/new'
	for folder in $(FOLDERS); do install -d "$(DESTDIR)$(LIBDIR)/new/$$folder" && \
		install -m 644 null521/$$folder/*.py "$(DESTDIR)$(LIBDIR)/new/$$folder" || exit; done
	# -s and -p: put the final path into the bytecode, not that of the staging directory.
	umask 022 && $(INTERPRETER) -m compileall -q -f -s '$(DESTDIR)$(LIBDIR)/new' -p '$(LIBDIR)/null521' \
		'$(DESTDIR)$(LIBDIR)/new'
	cd '$(DESTDIR)$(LIBDIR)' && { [ ! -e null521 ] || mv -T null521 old; } && mv -T new null521 && rm -rf old
	$(PLACES) units/launcher >'$(DESTDIR)$(BINDIR)/null521.new'
	chmod 755 '$(DESTDIR)$(BINDIR)/null521.new'
	mv -f '$(DESTDIR)$(BINDIR)/null521.new' '$(DESTDIR)$(BINDIR)/null521'
	install -m 755 units/certificate '$(DESTDIR)$(LIBDIR)/certificate'
	$(PLACES) units/null521.socket >'$(DESTDIR)$(UNITDIR)/null521.socket'
	if [ "$$(expr 0'$(SYSTEMD)' : '\([0-9]*\)')" -ge 255 ]; then \
		install -D -m 644 units/null521.socket.pace.conf '$(DESTDIR)$(UNITDIR)/null521.socket.d/pace.conf'; \
	else rm -f '$(DESTDIR)$(UNITDIR)/null521.socket.d/pace.conf'; fi
	$(PLACES) units/null521@.service >'$(DESTDIR)$(UNITDIR)/null521@.service'
	$(PLACES) units/system-null521.slice >'$(DESTDIR)$(UNITDIR)/system-null521.slice'
	$(PLACES) units/null521-serve.socket >'$(DESTDIR)$(UNITDIR)/null521-serve.socket'
	$(PLACES) units/null521-serve.service >'$(DESTDIR)$(UNITDIR)/null521-serve.service'
	install -m 644 units/null521.catalog '$(DESTDIR)$(CATALOGDIR)/null521.catalog'
	install -m 644 units/null521.tmpfiles '$(DESTDIR)$(TMPFILESDIR)/null521.conf'
	for page in $(PAGES); do \
		$(PLACES) "docs/man/$${page#*/}" >'$(DESTDIR)$(MANDIR)'/"$$page" || exit; done
	$(PLACES) inetd.conf.example >'$(DESTDIR)$(DOCDIR)/inetd.conf.example'
	$(PLACES) units/null521.xinetd >'$(DESTDIR)$(DOCDIR)/null521.xinetd'
	install -m 644 README.md LICENSE CHANGELOG.md '$(DESTDIR)$(DOCDIR)'
	$(TELL_SYSTEMD)
	$(if $(DESTDIR),,$(TELL_USER))

certificate:
	@units/certificate '$(TLSDIR)'

uninstall:
	@if [ -e '$(DESTDIR)$(TLSDIR)' ]; then echo 'null521: keeping $(TLSDIR) with your certificate and key' >&2; fi
	rm -rf '$(DESTDIR)$(LIBDIR)' '$(DESTDIR)$(DOCDIR)'
	rm -f '$(DESTDIR)$(BINDIR)/null521' '$(DESTDIR)$(UNITDIR)/null521.socket' \
		'$(DESTDIR)$(UNITDIR)/system-null521.slice' '$(DESTDIR)$(UNITDIR)/null521.socket.d/pace.conf' \
		'$(DESTDIR)$(UNITDIR)/null521@.service' '$(DESTDIR)$(UNITDIR)/null521-serve.socket' \
		'$(DESTDIR)$(UNITDIR)/null521-serve.service' '$(DESTDIR)$(CATALOGDIR)/null521.catalog' \
		'$(DESTDIR)$(TMPFILESDIR)/null521.conf' $(PAGES:%='$(DESTDIR)$(MANDIR)/%')
	if [ -d '$(DESTDIR)$(UNITDIR)/null521.socket.d' ]; then \
		rmdir --ignore-fail-on-non-empty '$(DESTDIR)$(UNITDIR)/null521.socket.d'; fi
	$(TELL_SYSTEMD)
	echo 'null521 is uninstalled from $(DESTDIR)$(PREFIX)'

# Only when installing on the running system: as root, and not for a package.
TELL_SYSTEMD = @if [ -z '$(DESTDIR)' ] && [ "$$(id -u)" = 0 ] && [ -d /run/systemd/system ]; then \
	systemctl daemon-reload; journalctl --update-catalog; \
	[ ! -e '$(TMPFILESDIR)/null521.conf' ] || systemd-tmpfiles --create '$(TMPFILESDIR)/null521.conf'; fi

# What to type next. A user without privileges cannot have port 25, and needs no unit.
TELL_USER = as_root=$${SUDO_USER:+sudo }; \
	echo 'null521 is installed: $(BINDIR)/null521, $(LIBDIR), $(UNITDIR), $(MANDIR), $(DOCDIR)'; \
	if [ "$$(id -u)" != 0 ]; then echo 'Next:' && \
		echo "    $(BINDIR)/null521 serve --listen=127.0.0.1:2525 --refuse-at=rcpt" && \
		echo '    man $(MANDIR)/man8/null521-serve.8'; \
	elif command -v systemctl >/dev/null; then echo 'No port is open yet. Next:' && \
		echo "    $${as_root}systemctl enable --now null521-serve.socket" && \
		echo "    $${as_root}journalctl -t null521 -f"; \
	else echo 'No port is open yet. Next, for example:' && \
		echo "    $${as_root}$(BINDIR)/null521 serve --listen='*:25' --refuse-at=rcpt" && \
		echo '    less $(DOCDIR)/inetd.conf.example'; fi

# The files in the senders' roots belong to root.
clean:
	rm -rf build 2>/dev/null || sudo rm -rf build
