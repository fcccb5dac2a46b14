#!/bin/sh
# Two machines on one: two network namespaces joined by a cable, a Ray node in each, and a command on the first of them.
#   two_machines.sh WORK HIDDEN COMMAND...     needs root; HIDDEN is a folder that the second machine does not have
# Both share memory, which vLLM's CPU platform needs between ranks; GPUs do not. All of it is gone in the end.
set -eu
work=$1 hidden=$2
shift 2
first=trimtab-1-$$ second=trimtab-2-$$
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$work/token" RAY_USAGE_STATS_ENABLED=0 GLOO_SOCKET_IFNAME=eth0
head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$work/token"
mkdir -p "$work/ray"

end() {
    for name in "$first" "$second"; do
        for sent in TERM KILL; do
            ip netns pids "$name" 2>/dev/null | xargs -r kill -s "$sent" 2>/dev/null || true
            sleep 2
        done
        ip netns del "$name" 2>/dev/null || true
    done
}
trap end EXIT
for name in "$first" "$second"; do ip netns add "$name"; ip -n "$name" link set lo up; done
ip -n "$first" link add eth0 type veth peer name eth0 netns "$second"
ip -n "$first" addr add 10.77.0.1/24 dev eth0
ip -n "$second" addr add 10.77.0.2/24 dev eth0
for name in "$first" "$second"; do ip -n "$name" link set eth0 up; done

options="--num-cpus 1 --num-gpus 1 --object-store-memory 100000000 --disable-usage-stats --block"
ip netns exec "$first" ray start --head --node-ip-address 10.77.0.1 --port 6379 --include-dashboard=false \
    --temp-dir "$work/ray" $options > "$work/first.txt" 2>&1 &
sleep 15
ip netns exec "$second" unshare -m sh -c "mount -t tmpfs none '$hidden' && mount -t tmpfs none '$work/ray' &&
    exec ray start --address 10.77.0.1:6379 --node-ip-address 10.77.0.2 $options" > "$work/second.txt" 2>&1 &
sleep 15
RAY_ADDRESS=10.77.0.1:6379 VLLM_HOST_IP=10.77.0.1 ip netns exec "$first" "$@"
