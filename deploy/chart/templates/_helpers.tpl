{{/* Labels of what belongs to a role (learner, actor, end), and selectors of its pods: (dict "root" $ "role" "learner") */}}
{{- define "tactus.labels" -}}
app.kubernetes.io/name: tactus
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{/* Labels of all pods of the run */}}
{{- define "tactus.run" -}}
app.kubernetes.io/name: tactus
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The value of the metrics' label `run`: unique in the cluster, and a legal label of Kubernetes too */}}
{{- define "tactus.metricsRun" -}}
{{ .Release.Namespace }}.{{ .Release.Name }}
{{- end }}

{{/* What values.schema.json cannot say. */}}
{{- define "tactus.check" -}}
{{- if or (gt (len .Release.Name) 36) (contains "." .Release.Name) }}
{{- fail (printf "the release's name is %q: expected at most 36 letters, digits and dashes, since pods are named after it" .Release.Name) }}
{{- end }}
{{- if and (gt (int .Values.learner.hosts) 1) (ne .Values.storage.accessMode "ReadWriteMany") }}
{{- fail (printf "storage.accessMode is %s with learner.hosts %d: expected ReadWriteMany, since every host reads the checkpoints" .Values.storage.accessMode (int .Values.learner.hosts)) }}
{{- end }}
{{- range $folder, $reference := .Values.artifacts }}
{{- if hasKey $.Values.claims $folder }}
{{- fail (printf "claims.%s and artifacts.%s are both mounted at /usr/share/tactus/%s: expected one of them" $folder $folder $folder) }}
{{- end }}
{{- end }}
{{- if gt (int .Values.actors.min) (int .Values.actors.max) }}
{{- fail (printf "actors.min is %d and actors.max %d: expected no more than that" (int .Values.actors.min) (int .Values.actors.max)) }}
{{- end }}
{{- if and .Values.gpu.enabled (eq .Values.learner.workload "Job") }}
{{- fail "gpu.enabled with learner.workload Job: expected JobSet, whose pods start all ranks of a host" }}
{{- end }}
{{- end }}

{{- define "tactus.podHead" -}}
serviceAccountName: {{ .root.Release.Name }}-{{ .role }}
automountServiceAccountToken: false
enableServiceLinks: false # they add variables, and a variable TACTUS_... is a flag here
{{- if .root.Values.placement.priorityClasses }}
priorityClassName: tactus-{{ .role }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- if .root.Values.gpu.enabled }}
tolerations:
  - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
{{- with .root.Values.gpu.product }}
nodeSelector:
  nvidia.com/gpu.product: {{ . }}
{{- end }}
{{- end }}
securityContext:
  {{- include "tactus.user" . | nindent 2 }}
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
{{- end }}

{{- define "tactus.user" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "tactus.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: {{ not .writable }}
capabilities:
  drop: [ALL]
{{- end }}

{{/* The overrides of the configuration that a role's processes run with, and that check-config checks */}}
{{- define "tactus.settings" -}}
{{- if eq .role "learner" }}
- --set=service.listen=0.0.0.0:7070
- --set=eval.by=ACTORS
{{- end }}
{{- if ne .root.Values.tls "none" }}
- --set=service.plaintext=false
- --set=service.tls_cert_path=/etc/tactus-tls/tls.crt
- --set=service.tls_key_path=/etc/tactus-tls/tls.key
- --set=service.tls_ca_path=/etc/tactus-tls/ca.crt
{{- end }}
{{- with .root.Values.actors.relayFanOut }}
- --set=service.relay_fan_out={{ . }}
{{- end }}
{{- range .root.Values.settings }}
- {{ printf "--set=%s" . | quote }}
{{- end }}
{{- end }}

{{- define "tactus.args" -}}
{{ include "tactus.settings" . | trim | default "[]" }}
{{- end }}

{{/* A mistake in the configuration ends the launch here; the log is the resolved configuration. */}}
{{- define "tactus.checkConfig" -}}
- name: check-config
  image: {{ .root.Values.image }}
  command: [tactus, check-config, /etc/tactus/run.textproto, --config-only]
  args: {{- include "tactus.args" . | nindent 4 }}
  workingDir: /usr/share/tactus # the configuration's paths are relative to it
  env:
    - {name: TACTUS_LOG_FORMAT, value: json}
  securityContext:
    {{- include "tactus.containerSecurity" (dict "writable" false) | nindent 4 }}
  resources:
    requests: {cpu: 50m, memory: 64Mi}
    limits: {cpu: "1", memory: 256Mi}
  volumeMounts:
    - {name: config, mountPath: /etc/tactus, readOnly: true}
{{- end }}

{{/* Variables that learner and actors share */}}
{{- define "tactus.env" -}}
- {name: TACTUS_CONFIG, value: /etc/tactus/run.textproto}
- {name: TACTUS_LOG_FORMAT, value: json}
{{- if .root.Values.gpu.enabled }}
- {name: TACTUS_DEVICE, value: "cuda:0"} # the one that it sees; an image without CUDA refuses
{{- end }}
{{- if .root.Values.stores.enabled }}
- {name: TACTUS_CACHE, value: /var/cache/tactus}
{{- end }}
{{- range $name, $value := .root.Values.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}


{{- define "tactus.mounts" -}}
- {name: config, mountPath: /etc/tactus, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if .root.Values.stores.enabled }}
- {name: cache, mountPath: /var/cache/tactus}
{{- end }}
{{- if ne .root.Values.tls "none" }}
- {name: tls, mountPath: /etc/tactus-tls, readOnly: true}
{{- end }}
{{- range $folder, $source := merge (dict) .root.Values.claims .root.Values.artifacts }}
- {name: {{ $folder }}, mountPath: /usr/share/tactus/{{ $folder }}, readOnly: true}
{{- end }}
{{- end }}

{{- define "tactus.volumes" -}}
- name: config
  configMap:
    name: {{ .root.Release.Name }}-config
- name: tmp
  emptyDir:
    sizeLimit: 256Mi
{{- if .root.Values.stores.enabled }}
- name: cache
  emptyDir:
    sizeLimit: {{ .root.Values.stores.cache }}
{{- end }}
{{- if ne .root.Values.tls "none" }}
- name: tls
  secret:
    secretName: {{ .root.Release.Name }}-{{ .role }}-tls
    defaultMode: 288 # 0440: the pod's group reads it
{{- end }}
{{- range $folder, $claim := .root.Values.claims }}
- name: {{ $folder }}
  persistentVolumeClaim:
    claimName: {{ $claim }}
    readOnly: true
{{- end }}
{{- range $folder, $reference := .root.Values.artifacts }}
- name: {{ $folder }}
  image: {reference: "{{ $reference }}", pullPolicy: IfNotPresent} # by its digest: what is there already is the same
{{- end }}
{{- end }}

{{/* Start-up may take `failures` x `period` seconds. */}}
{{- define "tactus.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: {{ .period }}
  timeoutSeconds: 3
  failureThreshold: {{ .failures }}
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 3
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}

{{/* The Job of the learner, alone or in a JobSet */}}
{{- define "tactus.learnerJob" -}}
{{- $of := dict "root" . "role" "learner" }}
{{- $set := eq .Values.learner.workload "JobSet" }}
completionMode: Indexed # the Service looks for index 0
completions: {{ .Values.learner.hosts }}
parallelism: {{ .Values.learner.hosts }}
{{- if $set }}
backoffLimit: 0 # a rank alone cannot come back: the JobSet restarts them all
{{- else }}
backoffLimit: 10
# A new pod only when the old one has ended: two learners on one folder would refuse each other.
podReplacementPolicy: Failed
{{- end }}
podFailurePolicy:
  rules:
    # An eviction is nobody's fault: the next pod goes on from the checkpoint that SIGTERM made.
    - action: {{ ternary "FailJob" "Ignore" $set }}
      onPodConditions:
        - {type: DisruptionTarget, status: "True"}
    {{- if $set }}
    - action: FailJob # what follows is the JobSet's to say
      onExitCodes: {operator: In, values: [2, 130]}
    {{- else }}
    # 3 is a stop in order, whoever asked for it.
    - action: Ignore
      onExitCodes: {operator: In, values: [3]}
    # Exit code 2 is a user's mistake (a configuration, a file): trying again would only fail again.
    - action: FailJob
      onExitCodes: {operator: In, values: [2]}
    {{- end }}
template:
  metadata:
    labels:
      {{- include "tactus.labels" $of | nindent 6 }}
    {{- with .Values.placement.topology }}
    annotations:
      kueue.x-k8s.io/podset-required-topology: {{ . }}
    {{- end }}
  spec:
    restartPolicy: Never
    # SIGTERM: it finishes the step and writes a checkpoint; the exit code (3, of several ranks 130) is not "done".
    terminationGracePeriodSeconds: 600
    {{- include "tactus.podHead" $of | nindent 4 }}
    initContainers:
      {{- include "tactus.checkConfig" $of | nindent 6 }}
    containers:
      - name: learner
        image: {{ .Values.image }}
        command: [{{ ternary "tactus, ranks, --" "tactus-learner" $set }}]
        args: {{- include "tactus.args" $of | nindent 10 }}
        workingDir: /usr/share/tactus
        env:
          {{- if $set }}
          - {name: TACTUS_HOSTS, value: {{ .Values.learner.hosts | quote }}}
          - name: TACTUS_HOST_INDEX
            valueFrom:
              fieldRef:
                fieldPath: metadata.labels['batch.kubernetes.io/job-completion-index']
          - {name: TACTUS_RANKS_PER_HOST, value: {{ .Values.learner.ranksPerHost | quote }}}
          - {name: TACTUS_METRICS_FROM, value: "0.0.0.0:8080"} # rank i of the host: port 8080 + i
          - {name: TACTUS_STORE, value: "{{ .Release.Name }}-learner-hosts-0-0.{{ .Release.Name }}-learner-hosts:29500"}
          {{- else }}
          - {name: TACTUS_METRICS_LISTEN, value: "0.0.0.0:8080"}
          {{- end }}
          - {name: TACTUS_OUT, value: /var/lib/tactus}
          - {name: TACTUS_RESUME, value: "true"} # from the newest good checkpoint; from the start when there is none
          {{- include "tactus.env" $of | nindent 10 }}
        {{- if and .Values.stores.enabled .Values.stores.secret }}
        envFrom:
          - secretRef: {name: {{ .Values.stores.secret }}}
        {{- end }}
        ports:
          - {name: grpc, containerPort: 7070}
          - {name: metrics, containerPort: 8080}
          {{- range $rank := until (int .Values.learner.ranksPerHost) }}
          {{- if $rank }}
          - {name: metrics-{{ $rank }}, containerPort: {{ add 8080 $rank }}}
          {{- end }}
          {{- end }}
          {{- if $set }}
          - {name: store, containerPort: 29500}
          {{- end }}
        {{- include "tactus.probes" (dict "period" 5 "failures" (ternary 720 24 .Values.stores.enabled)) | nindent 8 }}
        securityContext:
          {{- include "tactus.containerSecurity" (dict "writable" .Values.gpu.writableRoot) | nindent 10 }}
        resources:
          requests:
            cpu: {{ .Values.learner.cpu | quote }}
            memory: {{ .Values.learner.memory }}
            {{- include "tactus.learnerDevices" . | nindent 12 }}
          limits:
            cpu: {{ .Values.learner.cpuLimit | quote }}
            memory: {{ .Values.learner.memory }}
            {{- include "tactus.learnerDevices" . | nindent 12 }}
        volumeMounts:
          - {name: run, mountPath: /var/lib/tactus}
          {{- if .Values.learner.sharedMemory }}
          - {name: shm, mountPath: /dev/shm}
          {{- end }}
          {{- include "tactus.mounts" $of | nindent 10 }}
    volumes:
      - name: run
        persistentVolumeClaim:
          claimName: {{ .Release.Name }}-run
      {{- with .Values.learner.sharedMemory }}
      - name: shm
        emptyDir: {medium: Memory, sizeLimit: {{ . }}}
      {{- end }}
      {{- include "tactus.volumes" $of | nindent 6 }}
{{- end }}

{{- define "tactus.learnerDevices" -}}
{{- if .Values.gpu.enabled }}
nvidia.com/gpu: {{ .Values.learner.ranksPerHost | quote }}
{{- end }}
{{- with .Values.placement.rdma }}
{{ . }}: "1"
{{- end }}
{{- end }}
