"""Chat templates of many shapes, written for the tests: each shows something that published ones do."""

TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "Weather of a <city> & its \"region\".", "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "description": "Größe, 東京"},
                                         "days": {"type": "integer", "enum": [1, 3], "default": 1}}, "required": ["city"]}}},
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}, "ratio": 0.1, "big": 1e16, "none": None, "yes": True}},
]
SHORT = [{"role": "user", "content": "What is 1 + 1?"}]
SYSTEM = [{"role": "system", "content": "  Be brief. \n"}, {"role": "user", "content": "Hi\n"}]
LONG = SYSTEM + [{"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello 'you' & \"me\"."}, {"role": "user", "content": "日本語 straße\tÉcole"},
                 {"role": "assistant", "content": "Ja. {{ not a tag }}"}, {"role": "user", "content": ""}]
CALLS = [{"role": "user", "content": "Weather?"},
         {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "id": "c1", "function": {"name": "get_weather", "arguments": {"city": "Köln", "days": 3, "opts": [1, 2.5, None, {"a": "b"}]}}},
                                                              {"type": "function", "id": "c2", "function": {"name": "now", "arguments": {}}}]},
         {"role": "tool", "name": "get_weather", "tool_call_id": "c1", "content": "{\"t\": 12}"},
         {"role": "tool", "name": "now", "tool_call_id": "c2", "content": "noon"},
         {"role": "assistant", "content": "12 degrees at noon."}, {"role": "user", "content": "Thanks"}]
CONVERSATIONS = {"short": SHORT, "system": SYSTEM, "long": LONG, "calls": CALLS}
ALL = ("short", "system", "long", "calls")

# name -> template, or (template, conversations, names beside the usual ones)
TEMPLATES = {
    "chatml": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "default_system": r"""{%- if messages[0].role != 'system' -%}
    {{- '<|system|>Please reason step by step, and put your final answer within \\boxed{}.' -}}
{%- endif -%}
{%- for message in messages -%}
    {{- '<|' ~ message.role ~ '|>' ~ message.content | trim ~ eos_token -}}
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}
""",
    "white_space": """
{# a comment #}
{% for m in messages %}
    {% if loop.first %}
  first: {{ m.role }}
    {% elif not loop.last %}
  middle: {{ m.role }}
    {%+ endif %}
{% endfor %}
  {%- if true %} x {%- endif +%}
tail {#- gone -#}   end
	{% if add_generation_prompt %}
>{%- endif %}

""",
    "loop_variables": "{% for m in messages %}[{{ loop.index }}/{{ loop.length }} {{ loop.index0 }} {{ loop.revindex }} {{ loop.revindex0 }} {{ loop.first }} {{ loop.last }} {{ loop.previtem.role if loop.previtem is defined else '-' }} {{ loop.nextitem.role if loop.nextitem is defined else 'end' }} {{ loop.cycle('a', 'b') }} {{ loop.changed(m.role) }} {{ loop.depth }}]{% else %}none{% endfor %}",
    "namespaces": """{%- set ns = namespace(system='', count=0, last=-1) -%}
{%- for m in messages -%}
{%- if m.role == 'system' -%}{%- set ns.system = m.content | trim -%}
{%- elif m.role == 'user' -%}{%- set ns.count = ns.count + 1 -%}{%- set ns.last = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{{ bos_token }}{{ ns.system or 'none' }} {{ ns.count }} {{ ns.last }} {{ ns.missing is defined }}""",
    "scopes": "{% set x = 1 %}{% for m in messages %}{{ x }}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}{% with x = 3, y = x %}{{ x }}{{ y }}{% endwith %}{{ x }}{% for tools in [1] %}{{ tools }}{% endfor %}{{ tools is none }}",
    "macros": """{%- macro say(role, content='nothing', end=eos_token) -%}<{{ role }}>{{ content }}{{ end }}{%- endmacro -%}
{%- macro outer(m) -%}({{ say(m.role, m.content | upper) }}|{{ say(role=m.role, end='') }}|{{ say('x') }}){%- endmacro -%}
{%- for m in messages -%}{{ outer(m) }}{%- endfor -%}{{ say.name }}""",
    "macro_arguments": "{% macro f(a, b=a) %}{{ a }},{{ b }},{{ varargs | join('/') }},{{ kwargs | dictsort }}{% endmacro %}{{ f(1) }} {{ f(1, 2) }} {{ f(1, 2, 3, 4, z=1, y=2) }} {{ f(*[5, 6], **{'q': 7}) }}",
    "recursive_macro": """{%- macro schema(s, depth) -%}{%- if s is mapping -%}{{ '{' }}{%- for k, v in s.items() -%}{{ k }}:{{ schema(v, depth + 1) }}{{ ',' if not loop.last }}{%- endfor -%}{{ '}' }}
{%- elif s is sequence and s is not string -%}[{%- for v in s -%}{{ schema(v, depth + 1) }};{%- endfor -%}]{%- else -%}{{ s }}@{{ depth }}{%- endif -%}{%- endmacro -%}
{{ schema(tools, 0) }}""",
    "call_blocks": "{% macro box(title) %}[{{ title }}: {{ caller('x') }}]{% endmacro %}{% for m in messages %}{% call(v) box(m.role) %}{{ m.content }}{{ v }}{% endcall %}{% endfor %}",
    "recursive_loop": "{% for item in [1, [2, [3, 4]], 5] recursive %}{% if item is iterable %}<{{ loop(item) }}>{% else %}{{ item }}.{{ loop.depth0 }}{% endif %}{% endfor %}",
    "loop_filter": "{% for m in messages if m.role != 'system' %}{{ loop.index }}{{ m.role[0] }}{{ '' if loop.last else ',' }}{% else %}empty{% endfor %}",
    "break_continue": "{% for m in messages %}{% if m.role == 'assistant' %}{% continue %}{% endif %}{% if loop.index > 3 %}{% break %}{% endif %}{{ m.role }} {% endfor %}",
    "nested_loops": "{% for a in [1, 2] %}{% set outer = loop %}{% for b in 'xy' %}{{ outer.index }}{{ b }}{{ loop.index }} {% endfor %}{% endfor %}{% for k, v in {'a': 1, 'b': [2]}.items() %}{{ k }}={{ v }};{% endfor %}{% for a, b in [(1, 2)] %}{{ a + b }}{% endfor %}",
    "tools_json": "{% if tools %}{% for t in tools %}{{ t | tojson }}\n{{ t | tojson(indent=4) }}\n{{ t.function | tojson(indent=2, sort_keys=true, ensure_ascii=true) }}\n{{ t | tojson(separators=(',', ':')) }}\n{% endfor %}{% endif %}",
    "tool_calls": """{%- for m in messages -%}
{%- if m.role == 'assistant' and m.tool_calls -%}
{%- for call in m.tool_calls -%}
{%- set f = call.function if call.function is defined else call -%}
<tool_call>{"name": "{{ f.name }}", "arguments": {{ f.arguments | tojson if f.arguments is mapping else f.arguments }}}</tool_call>
{%- endfor -%}
{%- elif m.role == 'tool' -%}
{%- if loop.index0 == 0 or messages[loop.index0 - 1].role != 'tool' -%}<responses>{%- endif -%}
{{ m.content }}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}</responses>{%- endif -%}
{%- else -%}{{ m.role }}:{{ m.content }};{%- endif -%}
{%- endfor -%}""",
    "generation": "{% for m in messages %}{% if m.role == 'assistant' %}A:{% generation %}{% set inner = 1 %}{{ m.content }}{{ eos_token }}{% endgeneration %}{{ inner is defined }}{% else %}{{ m.role }}:{{ m.content }}{%- endif %}{% endfor %}",
    "dates": "{% if strftime_now is defined %}{% set today = strftime_now('%d %b %Y') %}{% else %}{% set today = '26 Jul 2024' %}{% endif %}{{ today }} {{ strftime_now('%A, %B %d, %Y %H:%M:%S %j %y %p %I%Z%z %%') }}",
    "refuses_system": ("{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}ok", ("short", "system"), {}),
    "refuses_order": ("{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate, got ' ~ m.role) }}{% endif %}{{ m.content }}{% endfor %}", ALL, {}),
    "slices": "{{ messages[1:] | length }} {{ messages[:-1] | length }} {{ messages[::2] | map(attribute='role') | join(',') }} {{ messages[::-1][0].role }} {{ 'grün'[1:3] }} {{ 'abcdef'[::-2] }} {{ 'abc'[-2:] }} {{ 'abc'[5:] }}{{ [1, 2, 3][-1] }} {{ (1, 2, 3)[:2] }} {{ range(9)[2:8:3] | list }} {{ 'größe'[2] }} {{ none[1:] is defined }} {{ {'a': 1}[1:] is defined }}",
    "text_methods": "{{ ' a b '.strip() }}|{{ 'xxaxx'.lstrip('x') }}|{{ 'a,b,,c'.split(',') }}|{{ ' a  b '.split() }}|{{ 'a b c'.split(' ', 1) }}|{{ 'a b c'.rsplit(' ', 1) }}|{{ 'a\\nb\\r\\nc'.splitlines() }}|{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith(('x', 'bc')) }}|{{ 'aXbX'.replace('X', '--', 1) }}|{{ 'hello'.find('l') }}{{ 'hello'.rfind('l') }}{{ 'hello'.find('z') }}|{{ 'hello'.count('l') }}|{{ 'a-b-c'.partition('-') }}{{ 'a-b-c'.rpartition('-') }}|{{ '-'.join(['a', 'b']) }}|{{ 'x'.center(5, '*') }}{{ 'x'.ljust(3) }}{{ 'x'.rjust(3, '.') }}{{ '-7'.zfill(4) }}|{{ 'prefix-a'.removeprefix('prefix-') }}{{ 'a.txt'.removesuffix('.txt') }}|{{ 'a' in 'cab' }}{{ 'ab' * 3 }}",
    "text_case": "{{ 'straße ÉCOLE ΟΔΟΣ ǆ ﬁ'.upper() }}|{{ 'STRASSE ÉCOLE ΟΔΟΣ İ Σ'.lower() }}|{{ \"they're bill's ΣΑΣ\".title() }}|{{ 'éCOLE ΑΣ'.capitalize() }}|{{ 'aBß'.swapcase() }}|{{ \"o'neill-smith (a) [b] über\" | title }}|{{ 'ǆURO' | capitalize }}|{{ 'abC'.isupper() }}{{ 'ABC1'.isupper() }}{{ 'é'.islower() }}{{ '12'.isdigit() }}{{ '²'.isdigit() }}{{ '²'.isdecimal() }}{{ '½'.isnumeric() }}{{ 'aé'.isalpha() }}{{ 'a1'.isalnum() }}{{ ' \\t'.isspace() }}{{ ''.isalpha() }}",
    "formats": "{{ '%s has %d of %5.2f|%-5s|%05d|%x|%%|%r' % ('a', 3.9, 2.345, 'b', -42, 255, \"q'\") }}|{{ '%(a)s-%(b)03d' % {'a': 'x', 'b': 7} }}|{{ '%s' % 'one' }}|{{ '{} {1} {name!r:>6}'.format('a', name='n') if false else '{0} {1} {name!r:>6}'.format('a', 'b', name='n') }}|{{ '{:>5}|{:^7}|{:<4}|{:*^9}|{:+d}|{:,}|{:.3f}|{:08.2f}|{:x}|{:e}|{:%}'.format('a', 'bc', 'd', 'mid', 5, 1234567, 3.14159, -2.5, 255, 12345.678, 0.25) }}|{{ '{{}}{}'.format(1) }}|{{ '%s-%s' | format('x', 1) }}|{{ '{a[0]}{b.c}'.format(a=[1], b={'c': 2}) }}",
    "numbers": "{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 1e3 }} {{ 1_000 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1.0 }} {{ 1e16 }} {{ 1e-5 }} {{ 0.1 + 0.2 }} {{ 123456789.123 }} {{ 3 + true }} {{ -3 | abs }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 2.675 | round(2) }} {{ 2.1 | round(0, 'ceil') }} {{ 42 | round }} {{ '12' | int }} {{ ' 0x1f ' | int(base=16) }} {{ 'x' | int(7) }} {{ '3.9' | int }} {{ 3.9 | int }} {{ '2.5' | float }} {{ 'q' | float(1.5) }} {{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 10 == 10.0 }} {{ -2 ** 2 }} {{ +5 }} {{ 5 - -3 }}",
    "printing": "{{ none }} {{ true }} {{ [1, 'a', none, 2.0, [true]] }} {{ {'k': \"it's\", 2: 'b\"c', 'n': {'x': ()}} }} {{ (1,) }} {{ 'a\\n' }} {{ ['a\\n\\t\\\\\\u00e9\\x07\\u200b\\U0001F600'] }} {{ range(3) }} {{ {'a': 1}.keys() }} {{ {'a': 1}.values() }} {{ {'a': 1}.items() }} {{ missing }} {{ messages[0].nothing }}",
    "literals": "{{ 'tab\\tnew\\\\n \\x41\\u00e9\\101' }}{{ \"it's\" }}{{ 'say \"x\"' }}{{ 'a' 'b' }}{{ '\\q' }}{{ 'é' }}{{ [1, 2,] }}{{ {'a': 1,} }}{{ () }}{{ (1, 2) }}{{ '}}' }}{{ '{%' }}{{ {'a': {'b': 1}}['a']['b'] }}",
    "tests": "{{ 1 is odd }}{{ 2 is even }}{{ 4 is divisibleby 2 }}{{ none is none }}{{ 'a' is string }}{{ 1 is number }}{{ true is boolean }}{{ 1 is boolean }}{{ 1 is integer }}{{ true is integer }}{{ 1.0 is float }}{{ [] is sequence }}{{ {} is sequence }}{{ 1 is iterable }}{{ 'a' is iterable }}{{ {} is mapping }}{{ 'A' is upper }}{{ 'a' is lower }}{{ 'a' is in 'abc' }}{{ 1 is in [1] }}{{ 1 is eq 1 }}{{ 1 is ne 2 }}{{ 2 is gt 1 }}{{ 1 is lt 2 }}{{ 1 is ge 1 }}{{ 1 is le 0 }}{{ 'a' is sameas 'a' }}{{ x is defined }}{{ x is undefined }}{{ true is true }}{{ 1 is true }}{{ false is false }}{{ 'upper' is filter }}{{ 'nope' is filter }}{{ 'odd' is test }}{{ range is callable }}{{ 1 is not none }}{{ not 1 is none }}{{ 'a' is not in ['b'] and 3 is odd }}",
    "logic": "{{ '' or 'b' }}{{ 'a' and 'b' }}{{ not '' }}{{ 0 or [] or none }}{{ 1 if false }}{{ 'y' if 1 else 'n' }}{{ 'a' if false else 'b' if false else 'c' }}{{ 1 == 1 and 2 != 3 }}{{ [1, 2] == [1, 2] }}{{ (1, 2) == [1, 2] }}{{ 'a' < 'b' }}{{ [1, 2] < [1, 3] }}{{ 1 in [1, 2] and 3 not in [1] }}{{ 'k' in {'k': 0} }}{{ 'x' not in 'abc' }}{{ none == false }}{{ true == 1 }}{{ {'a': 1} == {'a': 1.0} }}{{ x is defined and x.y }}",
    "undefined": "{{ x }}|{{ x | default('d') }}|{{ '' | default('d') }}|{{ '' | default('d', true) }}|{{ none | d('n') }}|{{ messages[99] is defined }}|{{ messages[0].a is defined }}|{% for i in x %}{{ i }}{% else %}no{% endfor %}|{{ x | length }}|{{ x == y }}|{{ x is none }}|{{ 'a' ~ x ~ 'b' }}|{{ 'q' in x }}|{{ [x] | tojson if x else 'skipped' }}",
    "undefined_attribute": ("{{ x.y }}", ("short",), {}),
    "undefined_sum": ("{{ 'a' + x }}", ("short",), {}),
    "undefined_call": ("{{ x() }}", ("short",), {}),
    "none_loop": ("{% for i in none %}{% endfor %}", ("short",), {}),
    "text_and_number": ("{{ 'a' + 1 }}", ("short",), {}),
    "no_order": ("{{ 'a' < 1 }}", ("short",), {}),
    "changes_list": ("{% set a = [] %}{{ a.append is defined }}{{ a.append(1) }}", ("short",), {}),
    "changes_dict": ("{{ messages[0].update({'a': 1}) }}", ("short",), {}),
    "not_a_namespace": ("{% set a = {} %}{% set a.b = 1 %}", ("short",), {}),
    "too_few_to_unpack": ("{% for a, b in [(1, 2, 3)] %}{% endfor %}", ("short",), {}),
    "division_by_zero": ("{{ 1 // 0 }}", ("short",), {}),
    "broken_if": ("{% if true %}a", ("short",), {}),
    "broken_tag": ("{{ 1 +", ("short",), {}),
    "unknown_statement": ("{% do 1 %}", ("short",), {}),
    "filters_text": "{{ ' x ' | trim }}|{{ 'abc' | upper | lower | capitalize }}|{{ 'a b' | replace(' ', '_') }}|{{ 'hello world' | title }}|{{ 'a\\nb\\n\\nc' | indent }}|{{ 'a\\nb' | indent(2, true) }}|{{ 'a\\n\\nb' | indent('> ', blank=true) }}|{{ 'a b c' | wordcount }}|{{ 'abcdefghijkl' | truncate(8, true) }}|{{ 'one two three four' | truncate(9, leeway=0) }}|{{ 'x' | center(5) }}|{{ 'abc' | length }}|{{ 'größe' | count }}|{{ 12 | string + 'a' }}|{{ '<a href=\"x\">&' | e }}|{{ 'a b/ü' | urlencode }}|{{ 'abc' | first }}{{ 'abc' | last }}|{{ 'abc' | reverse }}|{{ 'abc' | list }}|{{ 'xxaxx' | trim('x') }}",
    "filters_lists": "{{ [3, 1, 2] | sort }}|{{ ['b', 'A', 'c'] | sort }}|{{ ['b', 'A'] | sort(case_sensitive=true) }}|{{ [1, 2, 3] | sort(reverse=true) }}|{{ messages | sort(attribute='role') | map(attribute='role') | list }}|{{ ['a', 'A', 'b'] | unique | list }}|{{ [1, 5, 3] | max }}{{ [1, 5, 3] | min }}|{{ [1, 2] | sum }}{{ [{'n': 2}, {'n': 3}] | sum(attribute='n') }}{{ [1] | sum(start=10) }}|{{ [1, 2, 3] | first }}{{ [1, 2, 3] | last }}|{{ [1, 2, 3] | reverse | list }}|{{ ['a', 'b'] | join(', ') }}|{{ messages | join(',', attribute='role') }}|{{ [1, 2, 3, 4, 5] | batch(2) | list }}|{{ [1, 2, 3] | batch(2, 'x') | list }}|{{ [1, 2, 3, 4, 5] | slice(3) | list }}|{{ {'b': 1, 'a': 2} | dictsort }}|{{ {'b': 1, 'a': 2} | dictsort(by='value') }}|{{ {'a': 1} | items | list }}|{{ {'x': 1} | length }}|{{ [[1, 2], [3]] | map('length') | list }}|{{ ['a', 'b'] | map('upper') | join }}|{{ [1, 2] | map('string') | list }}",
    "filters_select": "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}|{{ messages | rejectattr('role', '==', 'user') | map(attribute='role') | join(',') }}|{{ [0, 1, 2, 3] | select('odd') | list }}|{{ [0, 1, none, 'a'] | select | list }}|{{ [0, 1, 2] | reject('gt', 1) | list }}|{{ messages | selectattr('tool_calls') | list | length }}|{{ messages | selectattr('role', 'in', ['tool', 'system']) | map(attribute='content') | first | default('none') }}|{{ messages | map(attribute='name', default='anon') | join(' ') }}|{{ 'yes' if [] | select else 'no' }}|{% set it = [1, 2] | map('string') %}{{ it | join }}{{ it | join }}|{{ [1, 2] | map('string') is string }}",
    "group_by": "{% for g in messages | groupby('role') %}{{ g.grouper }}:{{ g.list | length }} {% endfor %}{% for role, items in messages | groupby('role') %}{{ role }}{{ items | map(attribute='content') | map('length') | list }}{% endfor %}",
    "filter_chain_with_calls": "{{ (messages | map(attribute='content') | join(' ')).split()[0:2] | join('+') }}{{ messages[0].content.strip().split(' ')[-1].upper() }}{{ {'a': [1, {'b': 2}]}.a[1].b }}{{ messages.0.role }}{{ messages[0]['ro' ~ 'le'] }}{{ messages[-1].get('nope', 'fallback') }}{{ messages[0].get('nope') }}",
    "set_blocks": "{% set a %}x{{ messages | length }}y{% endset %}[{{ a }}]{% set b | upper | replace('X', '-') %}x{% if true %}z{% endif %}{% endset %}[{{ b }}]{% set c, d = 1, 2 %}{{ c + d }}{% filter upper | trim %} m: {{ messages[0].role }} {% endfilter %}!",
    "raw": "{% raw %}{{ not }} {% a tag %}{% endraw %}\n  {%- raw -%}  x {%- endraw -%}  y{# {{ comment }} #}z",
    "cyclers": "{% set row = cycler('odd', 'even') %}{{ row.next() }}{{ row.next() }}{{ row.current }}{{ row.reset() }}{{ row.next() }}{% set comma = joiner('; ') %}{% for m in messages %}{{ comma() }}{{ m.role }}{% endfor %}{{ dict(a=1, **{'b': 2}) }}{{ dict([('x', 1)]) }}",
    "blocks": "{% block head %}<{{ bos_token }}>{% endblock %}{% block body scoped %}{{ messages | length }}{% endblock body %}",
    "thinking": """{%- set ns = namespace(last=messages | length - 1, open=true) -%}
{%- for m in messages[::-1] -%}{%- set index = (messages | length - 1) - loop.index0 -%}
{%- if ns.open and m.role == 'user' and not (m.content.startswith('<tool_response>') and m.content.endswith('</tool_response>')) -%}{%- set ns.open = false -%}{%- set ns.last = index -%}{%- endif -%}{%- endfor -%}
{%- for m in messages -%}
{%- set content = m.content if m.content is string else '' -%}
{%- if m.role == 'assistant' and '</think>' in content -%}
{%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') -%}
{%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
{{ '[' ~ thought ~ ']' if loop.index0 > ns.last }}{{ content }}
{%- else -%}{{ m.role ~ ':' ~ content }}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<a>{%- if enable_thinking is defined and enable_thinking is false -%}<think>\\n\\n</think>{%- endif -%}{%- endif -%}""",
    "thinking_off": ("{% if enable_thinking is defined and not enable_thinking %}off{% endif %}{{ kwargs_seen | default('-') }}", ("short",), {"enable_thinking": False, "kwargs_seen": "yes"}),
    "content_parts": ("{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% elif part['type'] == 'image' %}<image>{% endif %}{% endfor %}{% endif %}{% endfor %}", ALL, {}),
    "no_generation_prompt": ("{% if add_generation_prompt %}yes{% else %}no{% endif %}", ("short",), {"add_generation_prompt": False}),
    "gemma_like": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] | trim + '\\n\\n' %}{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}{% for m in rest %}{% if m['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = m['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + (first if loop.first else '') }}{{ m['content'] | trim }}{{ '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
    "deepseek_like": "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=true, system_prompt='') %}{% for m in messages %}{% if m['role'] == 'system' %}{% set ns.system_prompt = m['content'] %}{% endif %}{% endfor %}{{ bos_token }}{{ ns.system_prompt }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|User|>' + m['content'] }}{% endif %}{% if m['role'] == 'assistant' and m['content'] is not none %}{% set content = m['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{ '<|Assistant|>' + content + '<|end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|Assistant|><think>\\n' }}{% endif %}",
    "zephyr_like": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    "sections_like": """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") if strftime_now is defined else "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start|>system<|end|>\\n\\nToday: " + date_string + "\\n\\n" }}
{%- if tools is not none %}
    {{- "Functions:\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}{{- "<|eot|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start|>' + message['role'] + '<|end|>\\n\\n'+ message['content'] | trim + '<|eot|>' }}
    {%- elif 'tool_calls' in message %}
        {%- for tool_call in message.tool_calls %}{%- set tool_call = tool_call.function %}
        {{- '{"name": "' + tool_call.name + '", "parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}{%- endfor %}
    {%- else %}
        {%- if message.content is mapping or (message.content is iterable and message.content is not string) %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant<|end|>\\n\\n' }}
{%- endif %}
""",
}
