#!/bin/sh
# What the tests run as e2e command. `count` waits until every pod has counted,
# kills one ticker in place, waits until its successor has counted, too.
set -eu

# pods LABEL: their names.
pods() {
    kubectl get pods --selector "app=$1" --output name
}

# counted POD: its container, as it runs now, has counted.
counted() {
    for _ in $(seq 240); do
        if kubectl logs "$1" 2>/dev/null | grep --quiet '^counted$'; then return; fi
        sleep 0.25
    done
    echo "$1 has not counted in a minute"
    exit 1
}

# all_counted LABEL NUMBER
all_counted() {
    [ "$(pods "$1" | wc -l)" -eq "$2" ] || { echo "expected $2 pods of $1"; pods "$1"; exit 1; }
    for pod in $(pods "$1"); do counted "$pod"; done
}

# kill_in_place POD PROGRAM: kill -9 of the program alone, from the host.
kill_in_place() {
    uid=$(kubectl get "$1" --output 'jsonpath={.metadata.uid}')
    killed=0
    for process in /proc/[0-9]*; do
        [ "$(cat "$process/comm" 2>/dev/null)" = "$2" ] || continue
        tr '\0' '\n' 2>/dev/null <"$process/environ" | grep --quiet "^PODCOV_POD_UID=$uid\$" || continue
        kill -9 "${process#/proc/}"
        killed=$((killed + 1))
    done
    [ "$killed" -eq 1 ] || { echo "expected to kill 1 process, killed $killed"; exit 1; }
}

# restarted POD
restarted() {
    for _ in $(seq 240); do
        starts=$(kubectl get "$1" --output 'jsonpath={.status.containerStatuses[0].restartCount}')
        if [ "$starts" = 1 ]; then counted "$1"; return; fi
        sleep 0.25
    done
    echo "$1 was not started again in a minute"
    exit 1
}

case $1 in
    count)
        all_counted ticker 2
        all_counted gotick 1
        all_counted oldtick 1
        echo "test everything_counts ... ok"
        ;;
esac
case $1 in
    count | kill)
        [ "$1" = count ] || all_counted ticker 2
        victim=$(pods ticker | head --lines 1)
        kill_in_place "$victim" ticker
        restarted "$victim"
        echo "test the_killed_one_starts_again ... ok"
        ;;
    phases)
        # Each test gives new pods other work. The first is told by its output.
        all_counted ticker 2
        work() {
            # The ticker takes no SIGTERM, so its pods are asked for a second only.
            kubectl scale deployment/ticker --replicas 0 >/dev/null
            kubectl delete pods --selector app=ticker --now >/dev/null
            kubectl set env deployment/ticker "$@" >/dev/null
            kubectl scale deployment/ticker --replicas 2 >/dev/null
            kubectl rollout status deployment/ticker --timeout 60s >/dev/null
            all_counted ticker 2
        }
        echo "=== RUN   TestIdle"
        work TICKS=0
        echo "--- PASS: TestIdle (0.00s)"
        podcov phase start --kind test grumpy
        work TICKS=1 GRUMPY=1
        podcov phase end grumpy
        podcov phase start --kind test busy
        work TICKS=2 GRUMPY-
        podcov phase end busy
        ;;
    full)
        all_counted ticker 2
        dd if=/dev/zero of="$PODCOV_RUN_DIR/filler" bs=4k 2>/dev/null || true
        ;;
    fail)
        all_counted ticker 2
        echo "test never_good ... FAILED"
        exit 1
        ;;
    wait)
        all_counted ticker 2
        # A test waits for the first file and makes the second, or does worse.
        touch waiting
        for _ in $(seq 1000); do
            if [ -e go ]; then exit 0; fi
            kubectl get --raw /readyz >/dev/null
            sleep 0.25
        done
        exit 1
        ;;
esac
