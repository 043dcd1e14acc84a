#!/usr/bin/env bash
# cast: deploy, transfer, read back, filter logs, subscribe, revert reasons.
set -euo pipefail

fail() { echo "cast: $*" >&2; exit 1; }
equal() { [ "$1" = "$2" ] || fail "expected '$2', found '$1'"; }
holds() { case "$1" in *"$2"*) ;; *) fail "expected '$2' in: $1" ;; esac; }
field() { node -e 'console.log(JSON.parse(require("fs").readFileSync(0))[process.argv[1]])' "$1"; }

export ETH_RPC_URL=$RPC
bytecode=$(field bytecode < "$TOKEN")
owner=$(cast wallet address "$KEY")
friend=$(cast wallet new | sed -n 's/^Address: *//p')

equal "$(cast chain-id)" 31337
holds "$(cast client)" coco

deployed=$(cast send --json --private-key "$KEY" --create "$bytecode" "constructor(uint256)" 1000)
equal "$(field status <<< "$deployed")" 0x1
token=$(field contractAddress <<< "$deployed")
equal "$(cast call "$token" "balanceOf(address)(uint256)" "$owner" | cut -d' ' -f1)" 1000

heard=$(mktemp)
cast logs --subscribe --rpc-url "$WS" --address "$token" "Transfer(address,address,uint256)" > "$heard" 2>&1 &
listener=$!
trap 'kill $listener 2> /dev/null || true; rm -f "$heard"' EXIT

# The subscription is a process of its own: transfers go on until it has heard one.
sent=0
until grep -qi "${friend:2}" "$heard"; do
  [ $sent -lt 100 ] || fail "the subscription heard nothing: $(cat "$heard")"
  transfer=$(cast send --json --private-key "$KEY" "$token" "transfer(address,uint256)" "$friend" 1)
  equal "$(field status <<< "$transfer")" 0x1
  sent=$((sent + 1))
done
equal "$(cast call "$token" "balanceOf(address)(uint256)" "$friend")" "$sent"

logs=$(cast logs --json --from-block 0 --address "$token" "Transfer(address,address,uint256)" | node -e 'console.log(JSON.parse(require("fs").readFileSync(0)).length)')
equal "$logs" $((sent + 1))
hash=$(field transactionHash <<< "$transfer")
equal "$(cast receipt "$hash" status)" true
equal "$(cast receipt "$hash" blockHash)" "$(field blockHash <<< "$transfer")"
equal "$(cast block "$(cast receipt "$hash" blockNumber)" --field hash)" "$(field blockHash <<< "$transfer")"

if said=$(cast call "$token" "refuse()" 2>&1); then fail "refuse() did not revert"; fi
holds "$said" "not in this consortium"
if said=$(cast send --private-key "$KEY" "$token" "transfer(address,uint256)" "$friend" 5000 2>&1); then
  fail "a transfer of too much was sent"
fi
holds "$said" 0xe450d38c # ERC20InsufficientBalance

cast send --json --private-key "$KEY" "$friend" --value 1.5ether > /dev/null
equal "$(cast balance --ether "$friend")" 1.500000000000000000
echo "cast: all as expected"
