{{/* Names stay short enough for pod names to be node ids: 30, and 15 of a pool's. */}}
{{- define "mcphub.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 30 | trimSuffix "-" }}
{{- end }}

{{- define "mcphub.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 30 | trimSuffix "-" }}
{{- else if contains (include "mcphub.name" .) .Release.Name }}
{{- .Release.Name | trunc 30 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "mcphub.name" .) | trunc 30 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What does not change with an upgrade. Takes {root, component}. */}}
{{- define "mcphub.selector" -}}
app.kubernetes.io/name: {{ include "mcphub.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "mcphub.labels" -}}
{{ include "mcphub.selector" . }}
app.kubernetes.io/part-of: mcphub
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Takes {root, image}. */}}
{{- define "mcphub.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .root.Chart.AppVersion .image.tag }}
{{- end }}
{{- end }}

{{- define "mcphub.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "mcphub.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "mcphub.secret" -}}
{{ default (include "mcphub.fullname" .) .Values.secret.existingSecret }}
{{- end }}

{{/* The environment variable REDIS_URL. */}}
{{- define "mcphub.redisEnv" -}}
{{- $ways := list }}
{{- if .Values.redis.url }}{{ $ways = append $ways "redis.url" }}{{ end }}
{{- if .Values.redis.existingSecret }}{{ $ways = append $ways "redis.existingSecret" }}{{ end }}
{{- if .Values.redis.trial.enabled }}{{ $ways = append $ways "redis.trial.enabled" }}{{ end }}
{{- if not $ways }}
{{- fail "coordinators need a Redis: set redis.url, redis.existingSecret or, for trying things, redis.trial.enabled=true" }}
{{- else if gt (len $ways) 1 }}
{{- fail (printf "one Redis is enough: %s are all set" (join " and " $ways)) }}
{{- end }}
- name: REDIS_URL
{{- if .Values.redis.existingSecret }}
  valueFrom: {secretKeyRef: {name: {{ .Values.redis.existingSecret }}, key: {{ .Values.redis.existingSecretKey }}}}
{{- else if .Values.redis.url }}
  value: {{ .Values.redis.url | quote }}
{{- else }}
  value: redis://{{ include "mcphub.fullname" . }}-redis:6379/0
{{- end }}
{{- end }}

{{/* The coordinators' settings, as a dictionary in JSON. */}}
{{- define "mcphub.coordinatorSettings" -}}
{{- $ours := dict "systemConfig" (dict "cluster" (dict "enabled" true "mode" "coordinator")) }}
{{- mergeOverwrite $ours (deepCopy .Values.coordinator.settings) | toJson }}
{{- end }}

{{/* A pool's settings, as a dictionary in JSON. Takes {root, pool}. */}}
{{- define "mcphub.nodeSettings" -}}
{{- $url := printf "http://%s:%d" (include "mcphub.fullname" .root) (int .root.Values.service.port) }}
{{- $node := dict "id" "${POD_NAME}" "coordinatorUrl" $url }}
{{- if .pool.weight }}{{ $_ := set $node "weight" .pool.weight }}{{ end }}
{{- $ours := dict "mcpServers" (deepCopy (default (dict) .pool.servers)) "systemConfig" (dict "cluster" (dict "enabled" true "mode" "node" "node" $node)) }}
{{- mergeOverwrite $ours (deepCopy (default (dict) .pool.settings)) | toJson }}
{{- end }}

{{- define "mcphub.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "mcphub.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
