#!/bin/sh
# The demo: simulated workers do a small task, the answers are exported, then a person may try it. Each time it begins anew.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
state=${1:-$here/.crowdstack}
bin=$(dirname "$(command -v crowdstack)")

if [ -d "$state/bots" ]; then # the run of a demo that was cut short ends first; then its answers and its budget go
    crowdstack --state "$state/bots" destroy --yes --now >/dev/null 2>&1 || [ $? = 6 ]
    rm -rf "$state/bots"
fi
echo "== preview, then up: 12 simulated workers label 50 short reviews, 3 answers each"
crowdstack --state "$state/bots" up "$here/task.yaml" --yes

echo
echo "== the answers"
crowdstack --state "$state/bots" export "$here/task.yaml" -f csv -o "$state/demo.csv"
head -4 "$state/demo.csv"
echo "... $(($(wc -l <"$state/demo.csv") - 1)) rows in $state/demo.csv"

echo
echo "== your turn"
crowdstack --state "$state/people" up "$here/people.yaml" --yes --detach
cat <<END

Open the link above in a browser: that is what a worker sees. When you are done:
  $bin/crowdstack --state $state/people export $here/people.yaml -f csv -o people.csv
  $bin/crowdstack --state $state/people destroy --yes

Real data, 8,000 recorded answers of 164 people, in under a minute:
  $bin/crowdstack up examples/rte/task.yaml --yes
  $bin/crowdstack export examples/rte/task.yaml -f csv -o rte.csv
  $bin/python examples/rte/score.py rte.csv examples/rte/gold.csv
END
