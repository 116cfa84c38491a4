# What one would write with psutil: see psutil-agent.
FROM python:3.13-slim
RUN pip install --quiet --no-cache-dir --disable-pip-version-check --root-user-action=ignore psutil==7.2.2 \
 && python -I -c "import collections, datetime, json, psutil, signal, urllib.request"
COPY psutil-agent /usr/local/bin/
CMD ["psutil-agent"]
