# make run     builds beck and shows its server at work on real, signed webhooks
# make test    runs all tests: as built for use, and with sanitizers; the last line counts them
# make check-kafka runs all clients of Kafka and their own tests, also those that take long
# make bench   measures against peers; the table is also in build/bench.json
# make check   static checks: clang-tidy, cppcheck, layers, format
# make install installs into PREFIX (default /usr/local), below DESTDIR
# make clean   removes everything that was built
#
# What is missing of packages is installed with apt when make runs as root or can use sudo; else it is named.

PREFIX = /usr/local
BUILD = build
SETUP = $(BUILD)/build.ninja

.PHONY: all run test check-kafka bench check install clean

all: $(SETUP)
	ninja -C $(BUILD)

$(SETUP):
	tools/install_packages.sh build
	meson setup --buildtype=release -Ddebug=true -Dwerror=false --prefix=$(PREFIX) $(BUILD) >/dev/null

run:
	@tools/install_packages.sh build demo
	@$(MAKE) --no-print-directory $(SETUP)
	@ninja -C $(BUILD) --quiet beck
	@tools/demo

test:
	@tools/install_packages.sh test
	@tools/run_tests.py

check-kafka:
	@tools/install_packages.sh test
	@tools/run_tests.py kafka

bench:
	@tools/install_packages.sh bench
	@$(MAKE) --no-print-directory $(SETUP)
	@ninja -C $(BUILD) --quiet bench-programs beck
	-@for part in "" _debian _librdkafka; do tools/fetch_kafka$$part.sh $(BUILD)/kafka$$(echo $$part | tr _ -); done
	@bench/run

check: $(SETUP)
	@tools/install_packages.sh check
	@tools/check_all.sh $(BUILD)

install: all
	meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf build build-*
