{{- define "lbctl.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "lbctl.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{- define "lbctl.selector" -}}
app.kubernetes.io/name: lbctl
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "lbctl.labels" -}}
{{ include "lbctl.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* Flags that every process of the product understands, as environment. */}}
{{- define "lbctl.logEnvironment" -}}
- {name: LBCTL_LOG_LEVEL, value: {{ .Values.log.level | quote }}}
- {name: LBCTL_LOG_FORMAT, value: {{ .Values.log.format | quote }}}
{{- end -}}

{{- define "lbctl.environment" -}}
{{ include "lbctl.logEnvironment" . }}
- {name: LBCTL_API_GROUP, value: {{ .Values.apiGroup | quote }}}
{{- with .Values.loadBalancerClass }}
- {name: LBCTL_LOAD_BALANCER_CLASS, value: {{ . | quote }}}
{{- end }}
- name: LBCTL_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- end -}}

{{/* The ServiceAccount of a component: (list $ "controller"). */}}
{{- define "lbctl.serviceAccount" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- default (printf "%s-%s" (include "lbctl.fullname" $root) $component) (index $root.Values $component).serviceAccount.name -}}
{{- end -}}
