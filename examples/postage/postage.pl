#!/usr/bin/perl
# What a parcel costs, by country and weight. A service of ARINT in Perl, with nothing beyond what Perl brings along.
use strict;
use warnings;
use JSON::PP;

$| = 1;    # every answer leaves at once
my $json = JSON::PP->new->canonical;
my $tariff;

sub postage {
    my ($parcel) = @_;
    my $bands = $tariff->{ $parcel->{country} // '' }
        or die { reject => 1, kind => 'no tariff', message => 'no tariff for ' . ( $parcel->{country} // 'no country' ) };
    for my $band (@$bands) {    # [up to kg, price], the lightest first
        return $band->[1] if $parcel->{kg} <= $band->[0];
    }
    die { reject => 1, kind => 'too heavy', message => "$parcel->{kg} kg are more than the heaviest band" };
}

sub answer {
    my ($request) = @_;
    if ( $request->{type} eq 'hello' ) {    # the first line: what the manifest's config holds
        $tariff = $request->{config}{tariff} or die { message => 'config.tariff is missing' };
        return ();
    }
    my $parcel = $json->decode( $request->{body} );
    $parcel->{postage} = postage($parcel);
    my @sends = $parcel->{kg} > 20 ? ( { to => 'flow/heavy', body => { id => $parcel->{id} } } ) : ();
    return ( body => $parcel, sends => \@sends );
}

while ( my $line = <STDIN> ) {
    my $request = $json->decode($line);
    my %answer  = eval { answer($request) };
    if ( my $error = $@ ) {
        %answer = ( error => ref $error ? $error : { message => "$error" } );
        $answer{error}{reject} = JSON::PP::true if $answer{error}{reject};
    }
    print $json->encode( { id => $request->{id}, %answer } ), "\n";
}
print STDERR "the input has ended: leaving\n";
