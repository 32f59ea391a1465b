{{- define "synaptoroute.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "synaptoroute.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "synaptoroute.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "synaptoroute.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "synaptoroute.selector" -}}
app.kubernetes.io/name: {{ include "synaptoroute.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "synaptoroute.labels" -}}
{{ include "synaptoroute.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "synaptoroute.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "synaptoroute.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "synaptoroute.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "synaptoroute.workload" -}}
{{- if eq .Values.store.kind "sqlite" -}}StatefulSet{{- else -}}Deployment{{- end -}}
{{- end -}}

{{- define "synaptoroute.routesConfigMap" -}}
{{- if .Values.routes.inline -}}
{{- printf "%s-routes" (include "synaptoroute.fullname" .) -}}
{{- else -}}
{{- .Values.routes.existingConfigMap -}}
{{- end -}}
{{- end -}}

{{- /* What cannot work is said before anything is installed. */ -}}
{{- define "synaptoroute.require" -}}
{{- if not .Values.auth.existingSecret -}}
{{- fail "auth.existingSecret is not set: the server listens beyond its pod only with an API key. Make one with `synaptoroute keys new --name me --scope admin`, put the line into a file named keys, and `kubectl create secret generic synaptoroute-keys --from-file=keys`" -}}
{{- end -}}
{{- if and (eq .Values.store.kind "postgres") (not .Values.store.postgres.existingSecret) -}}
{{- fail "store.postgres.existingSecret is not set: name a Secret with the connection string" -}}
{{- end -}}
{{- if and .Values.redis.enabled (not .Values.redis.existingSecret) -}}
{{- fail "redis.existingSecret is not set: name a Secret with the address" -}}
{{- end -}}
{{- if and .Values.redis.enabled (eq .Values.store.kind "postgres") -}}
{{- fail "redis.enabled goes with store.kind sqlite or memory: with postgres all pods have the same store already" -}}
{{- end -}}
{{- $several := or (gt (int .Values.replicaCount) 1) .Values.autoscaling.enabled -}}
{{- if and $several (not .Values.redis.enabled) (eq .Values.store.kind "sqlite") -}}
{{- fail "several replicas with store.kind sqlite would have routes of their own each: set redis.enabled, or store.kind postgres" -}}
{{- end -}}
{{- if and (eq .Values.store.kind "memory") (not (include "synaptoroute.routesConfigMap" .)) (not .Values.redis.enabled) -}}
{{- fail "store.kind memory needs routes.inline or routes.existingConfigMap: there would be no routes" -}}
{{- end -}}
{{- if and .Values.routes.inline .Values.routes.existingConfigMap -}}
{{- fail "set routes.inline or routes.existingConfigMap, not both" -}}
{{- end -}}
{{- if and .Values.routes.watch (not (include "synaptoroute.routesConfigMap" .)) -}}
{{- fail "routes.watch needs routes.inline or routes.existingConfigMap" -}}
{{- end -}}
{{- if and .Values.routes.prune (not .Values.routes.watch) -}}
{{- fail "routes.prune goes with routes.watch" -}}
{{- end -}}
{{- end -}}
