{{- /* What the Pods of all roles share. Roles call these with (dict "root" $ "role" "reader"). */ -}}

{{- define "mishards.name" -}}
{{- /* It names the cluster, in labels and in the URL of discovery. */ -}}
{{- if gt (len .Release.Name) 20 -}}
{{- fail (printf "the release's name %q names the cluster; up to 20 characters are allowed" .Release.Name) -}}
{{- end -}}
{{- .Release.Name -}}
{{- end -}}

{{- define "mishards.selector" -}}
app.kubernetes.io/name: mishards
app.kubernetes.io/instance: {{ include "mishards.name" . }}
{{- end -}}

{{- define "mishards.roleSelector" -}}
{{ include "mishards.selector" .root }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "mishards.account" -}}
{{ .Values.serviceAccount.name | default (include "mishards.name" .) }}
{{- end -}}

{{- define "mishards.secret" -}}
{{ .Values.secret.existing | default (include "mishards.name" .) }}
{{- end -}}

{{- define "mishards.podMeta" -}}
labels:
  {{- include "mishards.roleSelector" . | nindent 2 }}
annotations:
  {{- /* Pods are replaced when what they are told has changed. */}}
  checksum/settings: {{ list .root.Values.settings .root.Values.secret.values | toJson | sha256sum }}
{{- end -}}

{{- define "mishards.podSpec" -}}
{{- $values := index .root.Values .role -}}
serviceAccountName: {{ include "mishards.account" .root }}
# Variables such as MISHARDS_PROXY_PORT, made of a Service, would be taken for settings.
enableServiceLinks: false
terminationGracePeriodSeconds: 75
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "mishards.container" -}}
{{- $root := .root -}}
{{- $values := index .root.Values .role -}}
- name: {{ .role }}
  image: {{ printf "%s:%s" $root.Values.image.repository ($root.Values.image.tag | default $root.Chart.AppVersion) }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  args: [{{ .role }}]
  env:
    - name: POD_NAME
      valueFrom:
        fieldRef:
          fieldPath: metadata.name
    - name: POD_IP
      valueFrom:
        fieldRef:
          fieldPath: status.podIP
    - name: MISHARDS_NODE_ID
      value: $(POD_NAME)
    - name: MISHARDS_NODE_LISTEN
      value: tcp://$(POD_IP):19540
    - name: MISHARDS_HTTP_HOST
      value: "0.0.0.0"
    - name: MISHARDS_HTTP_PORT
      value: "9091"
    - name: MISHARDS_CLUSTER_DATA
      value: {{ $root.Values.data.url | default "/data" | quote }}
    - name: MISHARDS_CLUSTER_DISCOVERY
      value: kubernetes:///{{ include "mishards.name" $root }}?pod=$(POD_NAME)
    - name: MISHARDS_CLUSTER_ELECTION
      value: kubernetes:///{{ include "mishards.name" $root }}
    {{- if $root.Values.tls.nodes }}
    - name: MISHARDS_CLUSTER_TLS_CERTIFICATE
      value: /tls/nodes/tls.crt
    - name: MISHARDS_CLUSTER_TLS_KEY
      value: /tls/nodes/tls.key
    - name: MISHARDS_CLUSTER_TLS_CA
      value: /tls/nodes/ca.crt
    {{- end }}
    {{- if $root.Values.tls.http }}
    - name: MISHARDS_HTTP_TLS_CERTIFICATE
      value: /tls/http/tls.crt
    - name: MISHARDS_HTTP_TLS_KEY
      value: /tls/http/tls.key
    {{- end }}
    {{- with .env }}
    {{- . | nindent 4 }}
    {{- end }}
  envFrom:
    - configMapRef:
        name: {{ include "mishards.name" $root }}
    - secretRef:
        name: {{ include "mishards.secret" $root }}
  ports:
    - name: nodes
      containerPort: 19540
    - name: http
      containerPort: 9091
    {{- if eq .role "proxy" }}
    - name: milvus
      containerPort: 19530
    {{- end }}
  readinessProbe:
    httpGet:
      path: /readyz
      port: http
      {{- if $root.Values.tls.http }}
      scheme: HTTPS
      {{- end }}
    periodSeconds: 2
    failureThreshold: 2
  livenessProbe:
    httpGet:
      path: /healthz
      port: http
      {{- if $root.Values.tls.http }}
      scheme: HTTPS
      {{- end }}
    initialDelaySeconds: 20
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  resources:
    {{- toYaml $values.resources | nindent 4 }}
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop: [ALL]
  volumeMounts:
    - name: tmp
      mountPath: /tmp
    {{- if not $root.Values.data.url }}
    - name: data
      mountPath: /data
    {{- end }}
    {{- if $root.Values.tls.nodes }}
    - name: tls-nodes
      mountPath: /tls/nodes
      readOnly: true
    {{- end }}
    {{- if $root.Values.tls.http }}
    - name: tls-http
      mountPath: /tls/http
      readOnly: true
    {{- end }}
    {{- with .mounts }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "mishards.volumes" -}}
- name: tmp
  emptyDir: {}
{{- if not .root.Values.data.url }}
- name: data
  persistentVolumeClaim:
    claimName: {{ .root.Values.data.claim.existing | default (printf "%s-data" (include "mishards.name" .root)) }}
{{- end }}
{{- with .root.Values.tls.nodes }}
- name: tls-nodes
  secret:
    secretName: {{ . }}
{{- end }}
{{- with .root.Values.tls.http }}
- name: tls-http
  secret:
    secretName: {{ . }}
{{- end }}
{{- end -}}

{{- define "mishards.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "mishards.roleSelector" . | nindent 8 }}
{{- end -}}

{{- define "mishards.budget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "mishards.name" .root }}-{{ .role }}
  labels:
    {{- include "mishards.roleSelector" . | nindent 4 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "mishards.roleSelector" . | nindent 6 }}
{{- end -}}
