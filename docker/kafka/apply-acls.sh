#!/bin/bash
# Write acls.txt into the broker; runs once, in Kafka's own image, and again without harm.
set -euo pipefail

client=$(mktemp)
trap 'rm -f "$client"' EXIT
cat >"$client" <<EOF
security.protocol=SASL_PLAINTEXT
sasl.mechanism=PLAIN
sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="admin" password="$KAFKA_ADMIN_PASSWORD";
EOF

while read -r principal operations kind pattern name; do
    [[ -z $principal || $principal == \#* ]] && continue
    arguments=(--allow-principal "User:$principal" --resource-pattern-type "$pattern")
    for operation in ${operations//,/ }; do
        arguments+=(--operation "$operation")
    done
    case $kind in
    topic | group) arguments+=("--$kind" "$name") ;;
    cluster) arguments+=(--cluster) ;;
    *) echo "acls.txt: unknown kind of resource: $kind" >&2 && exit 1 ;;
    esac
    /opt/kafka/bin/kafka-acls.sh --bootstrap-server kafka:9092 --command-config "$client" --add "${arguments[@]}"
done <"$(dirname "$0")/acls.txt"
