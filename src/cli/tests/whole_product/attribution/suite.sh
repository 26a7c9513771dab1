# The tests that are named, 0 to 11, or `none`: then the background alone.
set -eu

# ask APP PATH
ask() {
    kubectl get --raw "/api/v1/namespaces/default/services/$1:8080/proxy/$2" 2>/dev/null
}

# there APP: one pod of it answers.
there() {
    for _ in $(seq 240); do
        if ask "$1" ""; then return; fi
        sleep 0.25
    done
    echo "$1 does not answer after a minute"
    exit 1
}

# By its test, the seventh starts a pod anew.
run() {
    if [ "$1" = 7 ]; then
        kubectl delete pods --selector app=gopher --now >/dev/null
        there gopher
    fi
    ask rusty "$1"
    ask gopher "$1"
}

there rusty
there gopher
# Once around for every part of the background.
sleep 3
if [ "$1" = none ]; then exit 0; fi
for number in $1; do
    podcov phase start --kind test "test_$number"
    run "$number"
    podcov phase end "test_$number"
done
