#!/usr/bin/env bash
# cast: deploy, transfer, read back, filter logs, subscribe, revert reasons; nothing of others.
#
# One case: URL with what it carries in it, KEY, FUNDED (1 or empty), HIDDEN (lines: address transaction holder code).
set -euo pipefail

fail() { echo "cast: $*" >&2; exit 1; }
equal() { [ "$1" = "$2" ] || fail "expected '$2', found '$1'"; }
holds() { case "$1" in *"$2"*) ;; *) fail "expected '$2' in: $1" ;; esac; }
field() { node -e 'console.log(JSON.parse(require("fs").readFileSync(0))[process.argv[1]])' "$1"; }
count() { node -e 'console.log(JSON.parse(require("fs").readFileSync(0)).length)'; }

export ETH_RPC_URL=$URL
bytecode=$(field bytecode < "$TOKEN")
owner=$(cast wallet address "$KEY")
friend=$(cast wallet new | sed -n 's/^Address: *//p')

equal "$(cast chain-id)" 31337
holds "$(cast client)" coco

deployed=$(cast send --json --private-key "$KEY" --create "$bytecode" "constructor(uint256)" 1000)
equal "$(field status <<< "$deployed")" 0x1
token=$(field contractAddress <<< "$deployed")
equal "$(cast call "$token" "balanceOf(address)(uint256)" "$owner" | cut -d' ' -f1)" 1000

sent=0
send() {
  transfer=$(cast send --json --private-key "$KEY" "$token" "transfer(address,uint256)" "$friend" 1)
  equal "$(field status <<< "$transfer")" 0x1
  sent=$((sent + 1))
}
# `cast logs --subscribe` is of WebSocket.
if [[ $URL == ws* ]]; then
  heard=$(mktemp)
  cast logs --subscribe --address "$token" "Transfer(address,address,uint256)" > "$heard" 2>&1 &
  listener=$!
  trap 'kill $listener 2> /dev/null || true; rm -f "$heard"' EXIT
  # The subscription is a process of its own: transfers go on until it has heard one.
  until grep -qi "${friend:2}" "$heard"; do
    [ $sent -lt 100 ] || fail "the subscription heard nothing: $(cat "$heard")"
    send
  done
else
  send
fi
equal "$(cast call "$token" "balanceOf(address)(uint256)" "$friend")" "$sent"

equal "$(cast logs --json --from-block 0 --address "$token" "Transfer(address,address,uint256)" | count)" $((sent + 1))
hash=$(field transactionHash <<< "$transfer")
equal "$(cast receipt "$hash" status)" true
equal "$(cast block "$(cast receipt "$hash" blockNumber)" --field hash)" "$(field blockHash <<< "$transfer")"

if said=$(cast call "$token" "refuse()" 2>&1); then fail "refuse() did not revert"; fi
holds "$said" "not in this consortium"
if said=$(cast send --private-key "$KEY" "$token" "transfer(address,uint256)" "$friend" 5000 2>&1); then
  fail "a transfer of too much was sent"
fi
holds "$said" 0xe450d38c # ERC20InsufficientBalance

if [ -n "$FUNDED" ]; then
  equal "$(cast send --json --private-key "$KEY" "$friend" --value 1.5ether | field status)" 0x1
  [ -n "$HIDDEN" ] || equal "$(cast balance --ether "$friend")" 1.500000000000000000
else
  equal "$(cast balance "$owner")" 0
fi

while read -r address transaction holder code; do
  [ -n "$address" ] || continue
  if said=$(cast receipt --async "$transaction" 2>&1); then fail "another's receipt is seen: $said"; fi
  holds "$said" "not found"
  equal "$(cast logs --json --from-block 0 --address "$address" "Transfer(address,address,uint256)" | count)" 0
  equal "$(cast call "$address" "balanceOf(address)" "$holder" 2> /dev/null)" 0x
  [ "$code" = code ] || equal "$(cast code "$address")" 0x
done <<< "$HIDDEN"
echo "cast: all as expected"
