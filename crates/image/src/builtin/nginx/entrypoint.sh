#!/bin/sh
# Runs what users put into /docker-entrypoint.d, then the command.
set -e
say() {
    [ -n "$NGINX_ENTRYPOINT_QUIET_LOGS" ] || echo "/docker-entrypoint.sh: $*"
}
if [ "$1" = nginx ]; then
    if [ -n "$(ls -A /docker-entrypoint.d 2>/dev/null)" ]; then
        say "/docker-entrypoint.d/ is not empty, will attempt to perform configuration"
        for file in /docker-entrypoint.d/*; do
            case $file in
            *.envsh) [ -x "$file" ] && say "Sourcing $file" && . "$file" ;;
            *.sh) if [ -x "$file" ]; then say "Launching $file"; "$file"; else say "Ignoring $file, not executable"; fi ;;
            *) say "Ignoring $file" ;;
            esac
        done
        say "Configuration complete; ready for start up"
    else
        say "No files found in /docker-entrypoint.d/, skipping configuration"
    fi
fi
exec "$@"
