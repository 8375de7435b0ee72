#!/usr/bin/env bash
# A real Home Assistant and a real mosquitto meet hearth: discovery without a warning, entities that show and command it, the blueprints,
# automations and dashboard of homeassistant/ with a phone that answers, a Node-RED, a restart of each side, a crash, a rule that was removed,
# a machine that was renamed. `make test-home-assistant`; wants root, Debian's
# packages, PyPI and npm, and 1.6 GB in $HA_BASE (by default ~/.cache/hearth-ha) the first time, four minutes each time.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd) root=$(cd "$(dirname "$0")/../.." && pwd)
"$here/setup.sh"
base=${HA_BASE:-${XDG_CACHE_HOME:-$HOME/.cache}/hearth-ha}
chroot=${HA_ROOT:-$base/${SUITE:-forky}}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
port=18830   # the rig has a network of its own: nothing else can be on it

# config NAME NODE MORE: a household played at its own pace.
config() {
  cat > "$work/$1.toml" <<TOML
node = "$2"
$3
[source.file]
path = "$root/examples/household.flac"
[store]
dir = "state"
[mqtt]
url = "mqtt://127.0.0.1:$port"
TOML
}
config first home $'[page]\nlisten = "127.0.0.1:18787"\nurl = "http://hearth.local:8787/"'
config fewer home $'[[rule]]\nname = "door"\nquestion = "Is someone at the door?"\nenter = 0.8'
config renamed study $'[[rule]]\nname = "door"\nquestion = "Is someone at the door?"\nenter = 0.8'
# A household lasts a minute and a half: hearth is started anew before what takes long on a busy machine.
start() { echo "sh -c 'echo \$\$ > $work/pid; exec $root/target/release/hearth run --config $work/$1.toml 2>> $work/hearth.log'"; }
# What a version of hearth announced that had another entity, in place of what the last one did.
cat > "$work/hearth_home.json" <<'JSON'
{"dev": {"ids": ["hearth_home"], "name": "Hearth home"}, "o": {"name": "hearth"},
 "cmps": {"legacy": {"p": "sensor", "name": "Legacy", "uniq_id": "hearth_home_legacy", "def_ent_id": "sensor.hearth_home_legacy",
                     "stat_t": "hearth/home/legacy"}}}
JSON
cat > "$work/older.py" <<PY
import sqlite3
db = sqlite3.connect("$work/state/hearth.db")
db.execute("UPDATE meta SET value = json_set(value, '\$.legacy', 'sensor') WHERE key = 'announced'")
db.commit()
PY
# One that ended but was not waited for by the rig has no program any more.
stop="p=\$(cat $work/pid); kill -TERM \$p; while [ -e /proc/\$p/exe ]; do sleep 0.1; done"

# What a household copies into its Home Assistant.
mkdir -p "$work/files/packages"
cp -r "$root"/homeassistant/blueprints "$root"/homeassistant/automations.yaml "$root"/homeassistant/dashboard.yaml "$work/files/"
cp "$root"/homeassistant/packages/*.yaml "$here/household.yaml" "$work/files/packages/"
# What somebody runs without Home Assistant.
python="chroot $chroot /opt/ha/bin/python - 127.0.0.1 $port < $root/homeassistant/alerts.py > $work/python.out 2>&1"
node_red=$base/node-red/node_modules/.bin/node-red
sed "s/\"port\":\"1883\"/\"port\":\"$port\"/; s/\"port\": \"1883\"/\"port\": \"$port\"/" "$root/homeassistant/node-red.json" > "$work/flow.json"
mkdir "$work/node-red"
nodes="$node_red --userDir $work/node-red --port 18801 $work/flow.json > $work/node-red.out 2>&1"

status=0
"$here/rig.py" --mqtt-port $port --out "$work/seen.json" --files "$work/files" --phone \
  --exec "$python" --exec "$nodes" --call light.turn_on=light.lamp --sleep 5 \
  --exec "$(start first)" --sleep 50 --dump first --tap "I know" --tap "False alarm" \
  --call 'input_boolean.turn_on=input_boolean.person' --sleep 1 --dump somebody \
  --call 'input_boolean.turn_off=input_boolean.person' --sleep 1 --dump nobody \
  --call 'automation.trigger=automation.night' \
  --call 'switch.turn_off=switch.hearth_home_listening' --call 'switch.turn_on=switch.hearth_home_listening' \
  --call 'button.press=button.hearth_home_pause' --call 'number.set_value={"entity_id":"number.hearth_home_pause_minutes","value":0}' \
  --call 'number.set_value={"entity_id":"number.hearth_home_interval","value":5}' \
  --call 'button.press=button.hearth_home_summarise' \
  --call 'text.set_value={"entity_id":"text.hearth_home_ask","value":"Is there a fire?"}' \
  --call 'button.press=button.hearth_home_acknowledge' --call 'button.press=button.hearth_home_false_alarm' \
  --call 'button.press=button.hearth_home_snooze' --sleep 2 --dump commanded \
  --run "$stop" --wait switch.hearth_home_listening=unavailable \
  --exec "$(start first)" --wait switch.hearth_home_listening=available --sleep 3 --dump back \
  --run "kill -9 \$(cat $work/pid)" --wait switch.hearth_home_listening=unavailable --dump crashed --exec "$(start first)" --sleep 5 \
  --restart-ha --sleep 7 --dump home_assistant_restarted \
  --run "$stop" --dump stopped \
  --discovery "$work/hearth_home.json" --run "python3 $work/older.py" --sleep 2 --dump older \
  --exec "$(start fewer)" --sleep 8 --dump fewer \
  --restart-broker --sleep 15 --dump broker_restarted \
  --run "$stop" --exec "$(start renamed)" --sleep 8 --dump renamed --run "$stop" || status=$?
"$here/judge.py" "$work/seen.json" "$work/python.out" "$work/node-red.out" || { tail -20 "$work/hearth.log" >&2; exit 1; }
exit $status
