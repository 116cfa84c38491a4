# Takes the place of the official postgres image where tests have no registry but the base's.
FROM python:3.13-slim
RUN apt-get update --quiet=2 \
 && apt-get install --yes --quiet=2 --no-install-recommends postgresql >/dev/null \
 && install --directory --owner=postgres --mode=0700 /var/lib/postgresql/data
ENV PATH=/usr/lib/postgresql/17/bin:$PATH PGDATA=/var/lib/postgresql/data
USER postgres
STOPSIGNAL SIGINT
CMD ["sh", "-ec", "[ -s $PGDATA/PG_VERSION ] || { echo \"$POSTGRES_PASSWORD\" > /tmp/password; initdb --username=$POSTGRES_USER --pwfile=/tmp/password --auth=scram-sha-256 > /dev/null; echo 'host all all all scram-sha-256' >> $PGDATA/pg_hba.conf; echo \"CREATE DATABASE $POSTGRES_DB\" | postgres --single -j postgres > /dev/null; }; exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp"]
