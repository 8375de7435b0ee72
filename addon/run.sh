#!/bin/sh
# Makes hearth's config of the add-on's options and of what the Supervisor hands over, and starts hearth.
set -eu

data=${DATA:-/data}
# What somebody wrote into /addon_configs/…_hearth of Home Assistant.
own=${OWN:-/config}/hearth.toml
supervisor=${SUPERVISOR:-http://supervisor}
# The one address from which the Supervisor opens the page for people who are logged in.
ingress=${INGRESS:-172.30.32.2}
page_listen=${PAGE_LISTEN:-0.0.0.0:8787} microphones_listen=${MICROPHONES_LISTEN:-0.0.0.0:10700}
umask 077

end() { echo "hearth: $*" >&2; exit 1; }

[ -r "$data/options.json" ] || end "the Supervisor left no options in $data/options.json"
jq -e 'type == "object"' "$data/options.json" >/dev/null 2>&1 || end "$data/options.json is no JSON object"
option() { jq -r --arg key "$1" '.[$key] // "" | tostring' "$data/options.json"; }

# ask PATH: what the Supervisor answers, in $answer. False where it says no.
ask() {
  code=$(curl -sS --max-time 30 -o "$data/answer.json" -w '%{http_code}' -H "Authorization: Bearer ${SUPERVISOR_TOKEN:-}" "$supervisor/$1") ||
    end "the Supervisor does not answer at $supervisor/$1"
  answer=$(cat "$data/answer.json"); rm -f "$data/answer.json"
  [ "$code" = 200 ]
}

if [ -n "$(option mqtt_url)" ]; then
  url=$(option mqtt_url) user=$(option mqtt_username) password=$(option mqtt_password)
elif ask services/mqtt; then
  url=$(printf %s "$answer" | jq -r '.data | (if .ssl then "mqtts" else "mqtt" end) + "://\(.host):\(.port)"')
  user=$(printf %s "$answer" | jq -r '.data.username // ""')
  password=$(printf %s "$answer" | jq -r '.data.password // ""')
else
  end "there is no MQTT service ($(printf %s "$answer" | jq -r '.message // empty' 2>/dev/null || true)): install the add-on \"Mosquitto broker\" and start it, or set mqtt_url"
fi
printf %s "$password" > "$data/mqtt.password"

# The link to the page in Home Assistant.
page=""
if ask addons/self/info; then page=$(printf %s "$answer" | jq -r '"homeassistant://app/\(.data.slug)"'); fi

# Text in JSON is text in TOML, but for one character.
jq -r --arg url "$url" --arg user "$user" --arg page "$page" --arg ingress "$ingress" --arg data "$data" \
  --arg page_listen "$page_listen" --arg microphones_listen "$microphones_listen" '
  def text: tostring | @json | gsub("\u007f"; "\\u007f");
  def line(key): if . == null or . == "" then empty else "\(key) = \(if type == "string" then text else tojson end)" end;
  "# Made of the options of the add-on at each start.",
  (.name | line("node")),
  (if .microphone then "[source.microphone]" else empty end),
  (if .network_microphones then "[source.wyoming]", ($microphones_listen | line("listen")) else empty end),
  "[asr]", (.language | line("language")), (.speech_model | line("model")),
  "[listener]", (.model | line("model")),
  "[digest]", (.minutes_between_summaries | line("every_min")),
  "[store]", ($data + "/state" | line("dir")), (.keep | line("keep")),
  "[privacy]", (.redact_numbers | line("redact_numbers")), "redact = [\(.redact // [] | map(text) | join(", "))]",
  "[mqtt]", ($url | line("url")), ($user | line("username")),
  (if $user == "" then empty else $data + "/mqtt.password" | line("password_file") end),
  "[page]", ($page_listen | line("listen")), "trusted = [\($ingress | text)]", ($page | line("url")),
  "[log]", (.log_level | line("level")), "format = \"text\"",
  (.rules // [] | .[] | "[[rule]]", (to_entries[] | .key as $key | .value | line($key)))
' "$data/options.json" > "$data/options.toml"

set -- --config "$data/options.toml"
[ ! -e "$own" ] || set -- --config "$own" --defaults "$data/options.toml"
exec "${HEARTH:-hearth}" run "$@"
