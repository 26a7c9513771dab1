#!/bin/sh
# Starts the server, runs the tests that are named, and kills the server.
set -eu
socket=$1 marks=$2
shift 2
"$SERVER" "$socket" &
server=$!
trap 'kill -9 $server' EXIT
while ! [ -S "$socket" ]; do sleep 0.01; done
for number in "$@"; do
    case $marks in
        command)
            "$PODCOV" phase start --kind test "test_$number"
            "$CLIENT" "$socket" "$number"
            "$PODCOV" phase end "test_$number"
            ;;
        variable) PODCOV_PHASE="test_$number" \
            "$EVIDENCE/bin/.podcov-launcher" --component client -- "$CLIENT" "$socket" "$number"
            ;;
    esac
done
