{{- /* "yes" for the objects that are made: the namespace is the release's, and somebody else's to make. */ -}}
{{- define "carousel.wanted" -}}
{{- $off := and (eq .object.kind "NetworkPolicy") (not .values.networkPolicy.enabled) -}}
{{- if not (or $off (eq .object.kind "Namespace")) }}yes{{ end -}}
{{- end -}}

{{- /* An object with what the values change of it. */ -}}
{{- define "carousel.changed" -}}
{{- $object := .object -}}
{{- $values := .root.Values -}}
{{- $shared := ne $values.store.url "memory:" -}}
{{- $_ := set $object.metadata "namespace" .root.Release.Namespace -}}
{{- $_ := set $object.metadata.labels "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $object.metadata.labels "app.kubernetes.io/instance" .root.Release.Name -}}
{{- if eq $object.kind "Deployment" -}}
{{- include "carousel.pod" (dict "pod" $object.spec.template.spec "root" .root) -}}
{{- else if eq $object.kind "HorizontalPodAutoscaler" -}}
{{- $_ := set $object.spec "minReplicas" ($values.replicas.least | int) -}}
{{- $_ := set $object.spec "maxReplicas" ($values.replicas.most | int) -}}
{{- else if and $shared (eq $object.kind "Service") (hasKey $object.spec "sessionAffinity") -}}
{{- $_ := set $object.spec "sessionAffinity" "None" -}}
{{- $_ := unset $object.spec "sessionAffinityConfig" -}}
{{- else if and $shared (eq $object.kind "NetworkPolicy") -}}
{{- $_ := set $object.spec "policyTypes" (list "Ingress") -}}
{{- $_ := unset $object.spec "egress" -}}
{{- end -}}
{{- toYaml $object -}}
{{- end -}}

{{- /* Changes a pod: image, settings, store, keys, resources and where it may run. Prints nothing. */ -}}
{{- define "carousel.pod" -}}
{{- $values := .root.Values -}}
{{- $pod := .pod -}}
{{- $container := index $pod.containers 0 -}}
{{- $tag := default .root.Chart.AppVersion $values.image.tag -}}
{{- $_ := set $container "image" (printf "%s:%s" $values.image.repository $tag) -}}
{{- $_ := set $container "resources" (mergeOverwrite $container.resources $values.resources) -}}
{{- $environment := dict -}}
{{- range $container.env }}{{ $_ := set $environment .name .value }}{{ end -}}
{{- $_ := set $environment "CAROUSEL_STORE" $values.store.url -}}
{{- range $name, $value := $values.settings }}{{ $_ := set $environment (printf "CAROUSEL_%s" (upper $name)) $value }}{{ end -}}
{{- $mounts := list -}}
{{- $volumes := list -}}
{{- if $values.store.passwordSecret.name -}}
{{- $_ := set $environment "CAROUSEL_STORE_PASSWORD_FILE" "/etc/carousel/store/password" -}}
{{- $mounts = append $mounts (dict "name" "store-password" "mountPath" "/etc/carousel/store" "readOnly" true) -}}
{{- $item := dict "key" $values.store.passwordSecret.key "path" "password" -}}
{{- $secret := dict "secretName" $values.store.passwordSecret.name "defaultMode" 288 "items" (list $item) -}}
{{- $volumes = append $volumes (dict "name" "store-password" "secret" $secret) -}}
{{- end -}}
{{- if $values.apiKeys.existingSecret -}}
{{- $_ := set $environment "CAROUSEL_API_KEYS_FILE" "/etc/carousel/keys/keys" -}}
{{- $mounts = append $mounts (dict "name" "api-keys" "mountPath" "/etc/carousel/keys" "readOnly" true) -}}
{{- $item := dict "key" $values.apiKeys.key "path" "keys" -}}
{{- $secret := dict "secretName" $values.apiKeys.existingSecret "defaultMode" 288 "items" (list $item) -}}
{{- $volumes = append $volumes (dict "name" "api-keys" "secret" $secret) -}}
{{- end -}}
{{- with $mounts }}{{ $_ := set $container "volumeMounts" . }}{{ end -}}
{{- with $volumes }}{{ $_ := set $pod "volumes" . }}{{ end -}}
{{- $listed := list -}}
{{- range $name := keys $environment | sortAlpha -}}
{{- $listed = append $listed (dict "name" $name "value" (get $environment $name)) -}}
{{- end -}}
{{- $_ := set $container "env" $listed -}}
{{- with $values.image.pullSecrets }}{{ $_ := set $pod "imagePullSecrets" . }}{{ end -}}
{{- with $values.nodeSelector }}{{ $_ := set $pod "nodeSelector" . }}{{ end -}}
{{- with $values.tolerations }}{{ $_ := set $pod "tolerations" . }}{{ end -}}
{{- end -}}
