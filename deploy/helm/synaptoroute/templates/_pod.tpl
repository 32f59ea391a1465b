{{- define "synaptoroute.pod" -}}
{{- $routes := include "synaptoroute.routesConfigMap" . -}}
metadata:
  labels:
    {{- include "synaptoroute.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # Settings are read at the start: pods begin anew when they change.
    checksum/settings: {{ include (print $.Template.BasePath "/configmap.yaml") . | sha256sum }}
    {{- if and .Values.routes.inline (not .Values.routes.watch) }}
    checksum/routes: {{ .Values.routes.inline | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "synaptoroute.serviceAccountName" . }}
  automountServiceAccountToken: false
  # Else a Service of this name sets SYNAPTOROUTE_PORT to an address.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add .Values.server.shutdownGraceSeconds .Values.server.drainSeconds 10 }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: server
      image: {{ include "synaptoroute.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - --host=0.0.0.0
        - --port={{ .Values.server.port }}
        {{- if eq .Values.store.kind "sqlite" }}
        - --db=/var/lib/synaptoroute/routes.db
        {{- end }}
        {{- if $routes }}
        - --routes=/etc/synaptoroute/routes/{{ .Values.routes.file }}
        {{- end }}
        {{- if .Values.routes.watch }}
        - --watch
        {{- end }}
        {{- if .Values.routes.prune }}
        - --prune
        {{- end }}
      envFrom:
        - configMapRef:
            name: {{ include "synaptoroute.fullname" . }}
      env:
        - name: SYNAPTOROUTE_KEYS_FILE
          value: /etc/synaptoroute/keys/{{ .Values.auth.key }}
        {{- if eq .Values.store.kind "postgres" }}
        - name: SYNAPTOROUTE_POSTGRES
          valueFrom:
            secretKeyRef:
              name: {{ .Values.store.postgres.existingSecret }}
              key: {{ .Values.store.postgres.key }}
        {{- end }}
        {{- if .Values.redis.enabled }}
        - name: SYNAPTOROUTE_REDIS
          valueFrom:
            secretKeyRef:
              name: {{ .Values.redis.existingSecret }}
              key: {{ .Values.redis.key }}
        {{- with .Values.redis.signingKey }}
        - name: SYNAPTOROUTE_REDIS_KEY
          valueFrom:
            secretKeyRef:
              name: {{ $.Values.redis.existingSecret }}
              key: {{ . }}
        {{- end }}
        {{- end }}
        {{- with .Values.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: http
          containerPort: {{ .Values.server.port }}
          protocol: TCP
      startupProbe:
        httpGet:
          path: /livez
          port: http
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: {{ max 1 (div .Values.server.startupSeconds 2) }}
      readinessProbe:
        httpGet:
          path: /readyz
          port: http
        periodSeconds: 3
        timeoutSeconds: 2
        failureThreshold: 2
      livenessProbe:
        httpGet:
          path: /livez
          port: http
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        runAsNonRoot: true
        capabilities:
          drop:
            - ALL
      volumeMounts:
        - name: data
          mountPath: /var/lib/synaptoroute
        - name: tmp
          mountPath: /tmp
        - name: keys
          mountPath: /etc/synaptoroute/keys
          readOnly: true
        {{- if $routes }}
        # A folder and not a file of it (subPath), which would never be seen to change.
        - name: routes
          mountPath: /etc/synaptoroute/routes
          readOnly: true
        {{- end }}
  volumes:
    {{- if ne .Values.store.kind "sqlite" }}
    - name: data
      emptyDir:
        sizeLimit: 512Mi
    {{- end }}
    - name: tmp
      emptyDir:
        sizeLimit: 256Mi
    - name: keys
      secret:
        secretName: {{ .Values.auth.existingSecret }}
        defaultMode: 0440
    {{- if $routes }}
    - name: routes
      configMap:
        name: {{ $routes }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- with .Values.topologySpreadConstraints }}
    {{- toYaml . | nindent 4 }}
    {{- else }}
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "synaptoroute.selector" . | nindent 10 }}
    {{- end }}
{{- end -}}
