{{- define "tidemark.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "tidemark.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "tidemark.labels" -}}
{{ include "tidemark.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "tidemark.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "tidemark.serviceAccount" -}}
{{- $account := index .root.Values.serviceAccounts .component -}}
{{- default (printf "%s-%s" (include "tidemark.fullname" .root) .component) $account.name -}}
{{- end -}}

{{/* A value as TOML has it. Helm reads whole numbers as floats. */}}
{{- define "tidemark.tomlValue" -}}
{{- if kindIs "string" . -}}
{{ toJson . }}
{{- else if kindIs "float64" . -}}
{{ if eq . (floor .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- else if kindIs "slice" . -}}
[{{ range $i, $item := . }}{{ if $i }}, {{ end }}{{ include "tidemark.tomlValue" $item }}{{ end }}]
{{- else -}}
{{ . }}
{{- end -}}
{{- end -}}

{{/* The scalars of a section, then its subsections. `name` is empty for the top. */}}
{{- define "tidemark.tomlSection" -}}
{{- $section := . -}}
{{- if $section.name }}
[{{ $section.name }}]
{{- end }}
{{- range $key, $value := $section.values }}
{{- if and (not (kindIs "map" $value)) (not (kindIs "invalid" $value)) }}
{{ $key }} = {{ include "tidemark.tomlValue" $value }}
{{- end }}
{{- end }}
{{- range $key, $value := $section.values }}
{{- if and (kindIs "map" $value) $value }}
{{- $name := ternary $key (printf "%s.%s" $section.name $key) (empty $section.name) }}
{{ include "tidemark.tomlSection" (dict "name" $name "values" $value) | trim }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What the chart decides, over what the values say. */}}
{{- define "tidemark.config" -}}
{{- $config := deepCopy (omit .Values.config "adapters") -}}
{{- $listen := dict "listen" "0.0.0.0:8788" -}}
{{- $managed := dict
      "log" (dict "engine" "kafka" "topics" "/etc/tidemark/topics")
      "store" (dict "engine" "dynamodb")
      "worker" $listen
      "serve" (dict "listen" "0.0.0.0:8789" "metrics_listen" "0.0.0.0:8790") -}}
{{- if .Values.serve.behindProxy -}}
{{- $_ := set $managed "http" (dict "connections_per_address_max" 0 "requests_per_second_per_address" 0) -}}
{{- end -}}
{{- if and .Values.serve.ingress.enabled .Values.serve.ingress.host -}}
{{- $http := default (dict) $managed.http -}}
{{- $_ := set $http "public_origin" (printf "https://%s" .Values.serve.ingress.host) -}}
{{- $_ := set $managed "http" $http -}}
{{- end -}}
{{- $config = mergeOverwrite $config $managed -}}
{{- include "tidemark.tomlSection" (dict "name" "" "values" $config) | trim }}
{{- range .Values.config.adapters }}

[[adapters]]
{{- range $key, $value := . }}
{{ $key }} = {{ include "tidemark.tomlValue" $value }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "tidemark.topic" -}}
{{- regexReplaceAll "(?m)^partitions: [0-9]+" .text (printf "partitions: %d" (int64 .partitions)) -}}
{{- end -}}

{{- define "tidemark.configData" -}}
tidemark.toml: |
  {{- include "tidemark.config" . | nindent 2 }}
{{- $partitions := dict
      "usage.events.yaml" .Values.topics.usageEventsPartitions
      "ledger.cuts.yaml" .Values.topics.usageEventsPartitions
      "ledger.postings.yaml" .Values.topics.ledgerPostingsPartitions }}
{{- range $path, $_ := .Files.Glob "files/topics/*.yaml" }}
{{- $text := $.Files.Get $path }}
{{- with index $partitions (base $path) }}
{{- $text = include "tidemark.topic" (dict "text" $text "partitions" .) }}
{{- end }}
{{ base $path }}: |
  {{- $text | trim | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Workers that are always there, and the partitions of one of them while another one is down. */}}
{{- define "tidemark.workersMin" -}}
{{- with .Values.worker -}}
{{- ternary .autoscaling.minReplicas .replicas .autoscaling.enabled | int64 -}}
{{- end -}}
{{- end -}}

{{- define "tidemark.workersMax" -}}
{{- $partitions := max (int64 .Values.topics.usageEventsPartitions) (int64 .Values.topics.ledgerPostingsPartitions) -}}
{{- min (int64 .Values.worker.autoscaling.maxReplicas) $partitions -}}
{{- end -}}

{{- define "tidemark.bytes" -}}
{{- $text := toString . -}}
{{- $number := regexFind "^[0-9]+" $text | int64 -}}
{{- $unit := regexFind "[A-Za-z]*$" $text -}}
{{- $units := dict "" 1 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "K" 1000 "k" 1000 "M" 1000000 "G" 1000000000 -}}
{{- if not (and (regexMatch "^[0-9]+[A-Za-z]*$" $text) (hasKey $units $unit)) -}}
{{- fail (printf "memory limit %q: write it as a whole number with Mi or Gi" $text) -}}
{{- end -}}
{{- mul $number (index $units $unit) -}}
{{- end -}}

{{/* The sum of values.yaml at worker.resources. */}}
{{- define "tidemark.workerMemory" -}}
{{- $pipeline := .Values.config.pipeline -}}
{{- $survivors := max 1 (sub (include "tidemark.workersMin" . | int64) 1) -}}
{{- $sources := div (add (int64 .Values.topics.usageEventsPartitions) (sub $survivors 1)) $survivors -}}
{{- $postings := div (add (int64 .Values.topics.ledgerPostingsPartitions) (sub $survivors 1)) $survivors -}}
{{- $readAhead := 16777216 -}}
{{- $source := add
      (mul 70 (int64 $pipeline.duplicate_window_records_max))
      (mul 160 (int64 $pipeline.cached_chains_max))
      (mul 3 (int64 $pipeline.chunk_bytes_max))
      $readAhead -}}
{{- $posting := add
      (mul 1024 (int64 $pipeline.cached_accounts_max))
      (mul 1024 (int64 $pipeline.flush_accounts_max))
      $readAhead -}}
{{- $archive := ternary 41943040 0 (not (empty (dig "archive" "location" "" .Values.config))) -}}
{{- $audit := ternary (add $source (mul 2 $readAhead) $archive) 0 .Values.worker.audit -}}
{{- add 335544320 (mul $sources (add $source $audit)) (mul $postings $posting) -}}
{{- end -}}

{{- define "tidemark.checkMemory" -}}
{{- $limit := include "tidemark.bytes" .Values.worker.resources.limits.memory | int64 -}}
{{- $needed := include "tidemark.workerMemory" . | int64 -}}
{{- if gt $needed $limit -}}
{{- fail (printf "the caches in config.pipeline need %d MiB per worker while another worker is down, but worker.resources.limits.memory is %d MiB: raise the limit, run more workers, or make the caches smaller (docs/kubernetes.md#memory)" (div $needed 1048576) (div $limit 1048576)) -}}
{{- end -}}
{{- end -}}

{{- define "tidemark.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "tidemark.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{- define "tidemark.env" -}}
- name: TIDEMARK_CONFIG
  value: /etc/tidemark/tidemark.toml
{{- end -}}

{{- define "tidemark.envFrom" -}}
{{- with .Values.existingSecret -}}
- secretRef: { name: {{ . }}, optional: true }
{{- end -}}
{{- end -}}

{{- define "tidemark.mounts" -}}
- { name: configuration, mountPath: /etc/tidemark, readOnly: true }
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tidemark.volumes" -}}
- name: configuration
  configMap:
    name: {{ include "tidemark.fullname" . }}
    items:
      - { key: tidemark.toml, path: tidemark.toml }
      {{- range $path, $_ := .Files.Glob "files/topics/*.yaml" }}
      - { key: {{ base $path }}, path: topics/{{ base $path }} }
      {{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tidemark.spread" -}}
{{- range $key, $whenUnsatisfiable := dict
      "topology.kubernetes.io/zone" .root.Values.topologySpread.zones
      "kubernetes.io/hostname" .root.Values.topologySpread.nodes }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: {{ $whenUnsatisfiable }}
  labelSelector:
    matchLabels:
      {{- include "tidemark.selector" $ | nindent 6 }}
{{- end }}
{{- end -}}

{{- define "tidemark.podAnnotations" -}}
checksum/configuration: {{ include "tidemark.configData" .root | sha256sum }}
{{- if .root.Values.monitoring.annotations }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .metricsPort | quote }}
{{- end }}
{{- with (index .root.Values .component).podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tidemark.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* A duration such as "1m 30s", in seconds, rounded up. */}}
{{- define "tidemark.seconds" -}}
{{- $total := 0 -}}
{{- range regexFindAll "[0-9]+ *[a-z]+" . -1 -}}
{{- $number := regexFind "[0-9]+" . | int64 -}}
{{- $unit := regexFind "[a-z]+" . -}}
{{- $seconds := dict "s" 1 "m" 60 "h" 3600 -}}
{{- $total = add $total (ternary 1 (mul $number (default 1 (index $seconds $unit))) (eq $unit "ms")) -}}
{{- end -}}
{{- $total -}}
{{- end -}}

{{- define "tidemark.probes" -}}
# Alive while partitions make progress; halted ones do not count, for a restart would not cure them.
livenessProbe:
  httpGet: { path: /healthz, port: metrics }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: { path: /readyz, port: metrics }
  periodSeconds: 5
  timeoutSeconds: 3
startupProbe:
  httpGet: { path: /healthz, port: metrics }
  periodSeconds: 2
  failureThreshold: 60
{{- end -}}
