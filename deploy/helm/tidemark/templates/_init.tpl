{{/* The pod of the Job. */}}
{{- define "tidemark.initPod" -}}
{{- $of := dict "root" .root "component" "init" -}}
metadata:
  labels:
    {{- include "tidemark.selector" $of | nindent 4 }}
  annotations:
    checksum/configuration: {{ include "tidemark.configData" .root | sha256sum }}
spec:
  serviceAccountName: {{ include "tidemark.serviceAccount" $of }}
  automountServiceAccountToken: false
  # Kubernetes would set TIDEMARK_..._PORT for each Service, which tidemark would take for settings.
  enableServiceLinks: false
  securityContext:
    {{- include "tidemark.podSecurity" .root | nindent 4 }}
  restartPolicy: OnFailure
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- range $i, $step := $.steps }}
  {{- $isLast := eq (add1 $i) (len $.steps) }}
  {{- if eq $i 0 }}
  initContainers:
  {{- end }}
  {{- if $isLast }}
  containers:
  {{- end }}
    - name: {{ $step.name }}
      image: {{ include "tidemark.image" $.root }}
      imagePullPolicy: {{ $.root.Values.image.pullPolicy }}
      args: {{ toJson $step.args }}
      {{- with include "tidemark.envFrom" $.root }}
      envFrom:
        {{- . | nindent 8 }}
      {{- end }}
      env:
        {{- include "tidemark.env" $.root | nindent 8 }}
      resources:
        {{- toYaml $.root.Values.init.resources | nindent 8 }}
      securityContext:
        {{- include "tidemark.containerSecurity" $.root | nindent 8 }}
      volumeMounts:
        {{- include "tidemark.mounts" $.root | nindent 8 }}
  {{- end }}
  volumes:
    {{- include "tidemark.volumes" .root | nindent 4 }}
{{- end -}}
